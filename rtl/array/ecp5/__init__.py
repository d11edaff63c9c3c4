"""What an ECP5 has that the portable description does not reach: DSP slices, wide multiplexers, sites."""
