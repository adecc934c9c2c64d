"""Parts of the `Distiller`."""
