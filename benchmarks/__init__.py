"""What limbeck is measured by; each folder holds its figures."""
