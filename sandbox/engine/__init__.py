"""The sandbox's machinery: HTTP, parameters, shapes, storage, events. Knows no resource by name."""
