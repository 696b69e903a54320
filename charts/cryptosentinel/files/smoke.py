"""What `helm test` asks: a forecast over V2, and its explanation. With the standard library alone."""

import json
import math
import sys
import time
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

URL, MODEL, PATIENCE_S = sys.argv[1], sys.argv[2], float(sys.argv[3])
OPENER = build_opener(ProxyHandler({}))  # what is asked is in the cluster
DEADLINE = time.monotonic() + PATIENCE_S


def ask(path, body=None):
    """The answer as JSON; what is busy or still starting is asked again until the time is up."""
    data = None if body is None else json.dumps(body).encode()
    while True:
        try:
            with OPENER.open(Request(URL + path, data, {"Content-Type": "application/json"}), timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            said = error.read().decode(errors="replace")
            if error.code not in (502, 503, 504) or time.monotonic() > DEADLINE:
                sys.exit(f"FAILED: {path} answers {error.code}: {said}")
        except (URLError, OSError) as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"FAILED: {URL}{path} cannot be reached: {error}")
        time.sleep(1)


def main():
    """Ends with 0 where both make sense."""
    bundle = ask(f"/v2/models/{MODEL}/bundle")
    close = 50000.0
    tensors = {"close": close, "realised_volatility_36": 0.001}
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in tensors.items()]
    answer = ask(f"/v2/models/{MODEL}/infer", {"inputs": inputs})
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    price, lower, upper = (outputs[name][0] for name in ("predicted_price", "lower_80", "upper_80"))
    if not (math.isfinite(price) and 0 < lower <= price <= upper):
        sys.exit(f"FAILED: a forecast of {price}, between {lower} and {upper}, makes no sense.")
    print(f"ok: V2 forecast {price:.2f}, 80% between {lower:.2f} and {upper:.2f}, from a close of {close:.2f}")

    row = {"close": close, "features": dict.fromkeys(bundle["features"], 0.0)}
    explained = ask(f"/v1/models/{MODEL}:explain", {"instances": [row]})
    if len(explained["explanations"]) != 1 or not explained["sentence"][0]:
        sys.exit(f"FAILED: the explanation is empty: {explained}")
    print(f"ok: explanation by bundle {explained['bundle_version']}: {explained['sentence'][0]}")


main()
