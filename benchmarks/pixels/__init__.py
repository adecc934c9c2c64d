"""Networks that answer with maps: segmentation and restoration."""
