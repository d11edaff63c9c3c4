"""The array of processing elements, what goes in and out of it, and what it is made of on each technology."""
