"""The local cluster: `python -m manifests.kind up`, `down`, `status`, `logs`; in make, `kind-up` and so on.

With the standard library alone: it must work before anything is installed. It imports nothing of ours, and nothing of
ours imports it.
"""
