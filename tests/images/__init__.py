"""The container images, built and run for real; `make test-images` runs them, `make test` does not."""
