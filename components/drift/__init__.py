"""The component `drift`."""
