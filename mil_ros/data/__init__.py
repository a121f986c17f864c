"""Episodes and task datasets on disk."""
