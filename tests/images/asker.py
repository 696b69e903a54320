"""Asks from inside a pod: mounted into a container that shares its network.

asker.py        answers each line of stdin, {"path": ..., "body": ...}, with a line of stdout
asker.py load   asks every line of stdin over and over, each in a thread of its own, until stdin is closed
"""

import json
import sys
import threading
import time

import httpx

URL = "http://127.0.0.1:8080"
closed = threading.Event()
printing = threading.Lock()


def ask(http: httpx.Client, asked: dict) -> dict:
    began = time.time()
    try:
        answer = http.get(asked["path"]) if asked.get("body") is None else http.post(asked["path"], json=asked["body"])
        told = {"status": answer.status_code, "body": answer.text}
    except httpx.HTTPError as error:
        told = {"status": 0, "body": repr(error)}
    return told | {"path": asked["path"], "began": began, "seconds": time.time() - began}


def tell(answer: dict) -> None:
    with printing:
        print(json.dumps(answer), flush=True)


def ask_on(asked: dict) -> None:
    with httpx.Client(base_url=URL, timeout=30) as http:
        while not closed.is_set():
            answer = ask(http, asked)
            tell(answer | {"body": answer["body"] if answer["status"] != 200 else ""})
            if answer["status"] == 503:
                time.sleep(0.1)  # who is told to ask later, and asks on, takes the processor from the answer


def main() -> None:
    if sys.argv[1:] == ["load"]:
        threads = []
        for line in sys.stdin:
            threads.append(threading.Thread(target=ask_on, args=[json.loads(line)]))
            threads[-1].start()
        closed.set()
        for thread in threads:
            thread.join()
        return
    with httpx.Client(base_url=URL, timeout=30) as http:
        for line in sys.stdin:
            tell(ask(http, json.loads(line)))


if __name__ == "__main__":
    main()
