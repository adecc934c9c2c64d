"""Every method on small real tasks."""
