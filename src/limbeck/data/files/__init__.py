"""Reading files: rows of tables, folders of images, texts, and what their labels are."""
