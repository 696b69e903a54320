"""Stands in for docker, kind, kubectl, helm, git and make: notes what it was asked, and keeps a world in a file.

Asked as `-c 'import standin' WORLD PROGRAM ARGUMENTS...`, and with few imports: it starts a thousand times.

`fails` of the world names beginnings of commands that fail, once each; `dies` such that end half-way through.
"""

import marshal
import sys

FILE, PROGRAM, ASKED = sys.argv[1], sys.argv[2], sys.argv[3:]
with open(FILE, "rb") as file:
    WORLD = marshal.load(file)


def end(code=0, out="", err=""):
    with open(FILE, "wb") as file:
        marshal.dump(WORLD, file)
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)


def as_json(value):
    import json

    return json.dumps(value)


def after(flag):
    """What stands after an option."""
    return ASKED[ASKED.index(flag) + 1]


def needs_cluster():
    if not (WORLD["cluster"] and WORLD["cluster"]["running"]):
        end(1, err="Unable to connect to the server")


def docker():
    if ASKED[0] == "info":
        if WORLD["docker"] is None:
            end(1, err="Cannot connect to the Docker daemon")
        end(out=as_json(WORLD["docker"]))
    if ASKED[0] == "run":
        end(out=f"Filesystem 1024-blocks Used Available Capacity Mounted on\noverlay 1 1 {WORLD['disk_kb']} 1% /\n")
    if ASKED[0] == "inspect":
        end(out=f"{WORLD['cluster']['running']}\n".lower())
    if ASKED[0] == "start":
        WORLD["cluster"]["running"] = True
    if ASKED[:2] == ["image", "inspect"]:
        end(out=WORLD["images"][ASKED[-1]] + "\n")
    if ASKED[:2] == ["image", "ls"]:
        end(out="".join(f"{name}\n" for name in WORLD["images"] if name.startswith(ASKED[-1] + ":")))
    if ASKED[:2] == ["image", "rm"]:
        for name in ASKED[2:]:
            del WORLD["images"][name]
    if ASKED[0] == "tag":
        WORLD["images"][ASKED[2]] = WORLD["images"][ASKED[1]]


def kind():
    if ASKED[0] == "get":
        end(out="cryptosentinel\n" if WORLD["cluster"] else "")
    if ASKED[0] == "create":
        if WORLD["cluster"]:
            end(1, err="ERROR: node(s) already exist for a cluster with the name")
        version = after("--image").split(":v")[1].split("@")[0]
        WORLD["cluster"] = {"version": version, "running": True, "finished": not DYING}
    if ASKED[0] == "delete":
        WORLD["cluster"] = None
        WORLD.update(releases={}, applied=[], loaded=[])
    if ASKED[0] == "export" and not WORLD["cluster"]["finished"]:
        end(1, err="ERROR: failed to read /etc/kubernetes/admin.conf")
    if ASKED[0] == "load":
        WORLD["loaded"] = sorted({*WORLD["loaded"], *(name for name in ASKED if name.startswith("cryptosentinel/"))})


def kubectl():
    if "kustomize" in ASKED:
        with open(after("--output"), "w") as file:
            file.write("half" if DYING else "kind: List\n")
        return
    if "--client" in ASKED:
        end(out=f"Client Version: v{WORLD['versions']['kubectl']}-dispatcher\nKustomize Version: v5.6.0\n")
    if ASKED[:2] != ["--context", "kind-cryptosentinel"]:
        end(1, err="not our cluster")
    needs_cluster()
    verb = ASKED[2:]
    if verb[0] == "version":
        end(out=as_json({"serverVersion": {"gitVersion": "v" + WORLD["cluster"]["version"]}}))
    if verb[0] == "apply":
        with open(after("--filename")) as file:
            if file.read() == "half":
                end(1, err="error: no objects passed to apply")
        WORLD["applied"] = sorted({*WORLD["applied"], after("--filename").rpartition("/")[2]})
    if verb[0] == "delete":
        WORLD["releases"] = {k: v for k, v in WORLD["releases"].items() if f"name={k}," not in after("--selector")}
    if verb[:2] == ["get", "--raw"]:
        end(out="ok")
    if verb[0] == "get":
        end(out=as_json({"items": WORLD["objects"].get(verb[1], [])}))


def helm():
    if ASKED[0] == "version":
        end(out=f"v{WORLD['versions']['helm']}")
    if ASKED[:2] != ["--kube-context", "kind-cryptosentinel"]:
        end(1, err="not our cluster")
    needs_cluster()
    verb = ASKED[2:]
    if verb[0] == "status":
        if verb[1] not in WORLD["releases"]:
            end(1, err="Error: release: not found")
        end(out=as_json({"name": verb[1], "info": WORLD["releases"][verb[1]]}))
    if verb[0] == "upgrade":
        there = WORLD["releases"].get(verb[2])
        if there and there["status"].startswith("pending"):
            end(1, err="Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
        status = ("pending-upgrade" if there else "pending-install") if DYING else "failed" if FAILING else "deployed"
        description = after("--description") if "--description" in verb else "Install complete"
        WORLD["releases"][verb[2]] = {"status": status, "description": description}
    if verb[0] == "list":
        end(out=as_json([{"name": k, "chart": k, "status": v["status"]} for k, v in WORLD["releases"].items()]))


def make():
    if "images" in ASKED:
        for name in next(each for each in ASKED if each.startswith("IMAGES=")).removeprefix("IMAGES=").split():
            WORLD["images"][f"cryptosentinel/{name}:kind"] = WORLD["content"] + name


line = " ".join([PROGRAM, *ASKED])
WORLD["asked"].append(line)
DYING = next((each for each in WORLD["dies"] if line.startswith(each)), None)
FAILING = next((each for each in WORLD["fails"] if line.startswith(each)), None)
if DYING:
    WORLD["dies"].remove(DYING)
if FAILING:
    WORLD["fails"].remove(FAILING)
said = f"{PROGRAM} version v{WORLD['versions'].get(PROGRAM, '9.9.9')}, build x\n"
if ASKED[0] in ("--version", "version") and PROGRAM in ("docker", "kind", "git", "make"):
    end(out=said)
if not FAILING or PROGRAM == "helm":
    {"docker": docker, "kind": kind, "kubectl": kubectl, "helm": helm, "make": make}[PROGRAM]()
end(1 if DYING or FAILING else 0, err="the stand-in was told to fail\n" if DYING or FAILING else "")
