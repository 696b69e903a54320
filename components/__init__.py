"""The seven Kubeflow components, one folder each.

A component is thin: it reads artifacts and parameters, calls the library, and writes artifacts and metrics. It carries
its own source into the pod, so everything it needs is imported inside the function; the library is in the image, and
so is this package, whose `step` they share. (Where a step runs, Kubeflow's `dsl` lacks what defines components: this
module imports none of them.)

Parameters they share: `settings` is `Settings.public_json()`, and `as_of` an ISO time that sets the clock of a recorded
or simulated market; empty for the market's own clock.
"""
