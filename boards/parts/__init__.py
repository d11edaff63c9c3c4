"""What a board's image has beside the accelerator: clock, UART, text."""
