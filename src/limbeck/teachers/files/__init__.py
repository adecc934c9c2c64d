"""Files of answers that somebody else's model gave: how they are read, matched with data, and written."""
