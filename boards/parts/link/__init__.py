"""The host's link: a UART, frames, and what their requests do."""
