"""Places that models come from, one file each."""
