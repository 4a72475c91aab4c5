"""Compose file, Kubernetes manifests and Dockerfile against what is installed."""

import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ray.scripts.scripts import cli as ray_cli

from kodosumi_prefect.cli import app as our_cli
from kodosumi_prefect.settings import PREFIX, Settings

TOP = Path(__file__).parents[2]
DEPLOYMENTS = TOP / "deployments"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUSTOMIZATION = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "kustomization.yaml").read_text())
EXAMPLES = ("secrets.example.yaml", "ingress.example.yaml")
OBJECTS: list[dict[str, Any]] = [
    found
    for name in (*KUSTOMIZATION["resources"], *EXAMPLES)
    for found in yaml.safe_load_all((DEPLOYMENTS / "kubernetes" / name).read_text())
]
DOCKERFILE = (DEPLOYMENTS / "Dockerfile").read_text()
VERSION = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]
LOCK = (TOP / "requirements.lock").read_text()

# Read by the images of others, or by whatever library the model of flows/crew.py needs.
FOREIGN = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "DO_NOT_TRACK", "PYTHONPATH"}
FOREIGN |= {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "MODEL", "OPENAI_API_KEY"}
FOREIGN_COMMANDS = {"pg_isready", "wget"}

# What Kubernetes refuses an object without: its API version and the fields of its spec.
REQUIRED = {
    "Namespace": ("v1", ()),
    "ConfigMap": ("v1", ("data",)),
    "Secret": ("v1", ("stringData",)),
    "Service": ("v1", ("spec.selector", "spec.ports")),
    "Deployment": ("apps/v1", ("spec.selector.matchLabels", "spec.template.spec.containers")),
    "Job": ("batch/v1", ("spec.template.spec.containers", "spec.template.spec.restartPolicy")),
    "Ingress": ("networking.k8s.io/v1", ("spec.rules",)),
    "RayCluster": (
        "ray.io/v1",
        (
            "spec.headGroupSpec.rayStartParams",
            "spec.headGroupSpec.template.spec.containers",
            "spec.workerGroupSpecs",
        ),
    ),
}


class Process(NamedTuple):
    """A container, whichever file describes it."""

    name: str
    image: str
    command: list[str]
    environment: dict[str, str]
    raw: dict[str, Any]


def at(holder: Any, path: str) -> Any:
    """What lies at a dotted path, or None."""
    for key in path.split("."):
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates of all objects."""
    for found in OBJECTS:
        name = found["metadata"]["name"]
        if template := at(found, "spec.template"):
            yield name, template
        if found["kind"] == "RayCluster":
            yield f"{name} head", found["spec"]["headGroupSpec"]["template"]
            for group in found["spec"]["workerGroupSpecs"]:
                yield f"{name} {group['groupName']}", group["template"]


def in_kubernetes() -> list[Process]:
    made = []
    for name, template in pods():
        for container in template["spec"]["containers"]:
            environment = {}
            for source in container.get("envFrom", ()):
                (kind,) = source
                holder = named({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind])
                found = holder[source[kind]["name"]]
                environment |= found.get("data") or found["stringData"]
            environment |= {e["name"]: e.get("value", "") for e in container.get("env", ())}
            command = [*container.get("command", ()), *container.get("args", ())]
            made.append(Process(name, container["image"], command, environment, container))
    return made


def in_compose() -> list[Process]:
    return [
        Process(name, service["image"], service.get("command", []), environment, service)
        for name, service in SERVICES.items()
        if isinstance(environment := service.get("environment", {}), dict)
    ]


PROCESSES = [*in_compose(), *in_kubernetes()]
COMMANDS = [(process.name, process.command) for process in PROCESSES if process.command]
COMMANDS += [
    (f"{name} healthcheck", service["healthcheck"]["test"][1:])
    for name, service in SERVICES.items()
    if "healthcheck" in service
]


def documented() -> list[tuple[str, list[str]]]:
    """Commands of ours, of Prefect and of Ray in the READMEs."""
    found = []
    for path in (DEPLOYMENTS / "compose" / "README.md", DEPLOYMENTS / "kubernetes" / "README.md"):
        text = path.read_text().replace("`", "\n").replace("\n  deploy", " deploy")
        for match in re.finditer(
            r"(?:exec \S+(?: --)?|… --)\s+((?:kodosumi-prefect|prefect|ray) [^\n#]+)", text
        ):
            found.append((path.parent.name, shlex.split(match[1])))
    return found


def parse_ours(arguments: list[str]) -> None:
    our_cli.parse_args(arguments, exit_on_error=False, print_error=False)


def parse_prefect(arguments: list[str]) -> None:
    app: Any = importlib.import_module("prefect.cli._app")._app
    # Options before the command are taken by the app around it, which hands the rest on.
    _, bound, _ = app.meta.parse_args(arguments, exit_on_error=False, print_error=False)
    app.parse_args(bound.args, exit_on_error=False, print_error=False)


def parse_ray(arguments: list[str]) -> None:
    name, *rest = arguments
    ray_cli.commands[name].make_context(name, rest)


PARSERS: dict[str, Callable[[list[str]], None]] = {
    "kodosumi-prefect": parse_ours,
    "prefect": parse_prefect,
    "ray": parse_ray,
}


@pytest.mark.parametrize(("where", "command"), [*COMMANDS, *documented()])
def test_every_command_exists_with_its_options(where: str, command: list[str]) -> None:
    program, *arguments = command
    if program not in FOREIGN_COMMANDS:
        PARSERS[program](arguments)


@pytest.mark.parametrize("wrong", ["kodosumi-prefect panel --hots x", "prefect worker begin"])
def test_a_command_that_does_not_exist_would_be_noticed(wrong: str) -> None:
    program, *arguments = wrong.split()
    with pytest.raises(Exception, match=r"hots|begin"):
        PARSERS[program](arguments)


def test_the_readmes_name_commands() -> None:
    assert {command[1] for _, command in documented()} >= {"--no-prompt", "doctor", "drain"}


def is_known(name: str) -> bool:
    if name in FOREIGN:
        return True
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX).lower() in Settings.model_fields
    if name.startswith("PREFECT_"):
        import prefect.settings

        return hasattr(prefect.settings, name)
    return name.startswith("RAY_") and name in ray_words()


def ray_words(cache: list[set[str]] = []) -> set[str]:  # noqa: B006
    """Every RAY_… that Ray's Python code mentions."""
    if not cache:
        import ray

        folder = Path(ray.__file__).parent
        files = [*(folder / "_private").rglob("*.py"), *(folder / "_common").rglob("*.py")]
        cache.append({w for f in files for w in re.findall(r"RAY_[A-Z_]+", f.read_text())})
    return cache[0]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_every_variable_is_a_setting(process: Process) -> None:
    unknown = [name for name in process.environment if not is_known(name)]
    assert not unknown


def test_a_variable_that_is_no_setting_would_be_noticed() -> None:
    for name in (f"{PREFIX}HOTS", "PREFECT_APY_URL", "RAY_AUTH_MOOD", "KODOSUMI_PANEL"):
        assert not is_known(name)


def test_the_images_variables_are_settings() -> None:
    (block,) = re.findall(r"^ENV (.*?[^\\])$", DOCKERFILE, re.DOTALL | re.MULTILINE)
    names = re.findall(r"([A-Z_]+)=", block)
    assert f"{PREFIX}DATA_DIR" in names
    assert all(is_known(name) for name in names)


def test_values_of_our_settings_are_valid() -> None:
    for process in PROCESSES:
        values = {
            name.removeprefix(PREFIX).lower(): _filled(value)
            for name, value in process.environment.items()
            if name.startswith(PREFIX)
        }
        if values.get("secret_key") == "change-me":
            values["secret_key"] = "x" * 32
        Settings.model_validate(values)


def _filled(value: str) -> str:
    """With what Compose puts in for a variable that is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", re.sub(r"\$\{[^}]+:\?[^}]+\}", "x" * 40, value))


def test_services_in_the_settings_are_files_of_the_image() -> None:
    named_services = {
        name
        for process in PROCESSES
        for name in process.environment.get(f"{PREFIX}SERVICES", "").split(",")
        if name
    }
    assert named_services
    for name in named_services:
        module, _, attribute = name.partition(":")
        text = (TOP / (module.replace(".", "/") + ".py")).read_text()
        assert re.search(rf"^{attribute}\b.* = ", text, re.MULTILINE)


def test_every_variable_that_compose_wants_is_in_the_example() -> None:
    text = (DEPLOYMENTS / "compose" / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (DEPLOYMENTS / "compose" / "env.example").read_text()
    assert wanted == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


def test_images_are_pinned_and_ours_is_this_version() -> None:
    transformed = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    for process in PROCESSES:
        name, _, tag = process.image.partition(":")
        tag = tag or transformed[name]
        assert re.fullmatch(r"\d+(\.\d+)+([.-]\w+)*", tag), process.image
        if name == "kodosumi-prefect":
            assert tag == VERSION
    for path in DEPLOYMENTS.rglob("*"):
        if path.is_file():
            for tag in re.findall(r"kodosumi-prefect:([\w.]+\w)", path.read_text()):
                assert tag == VERSION, path
    (base,) = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.1[1-4]\.\d+-slim-\w+", base)


def test_versions_are_those_of_the_lock() -> None:
    assert "--constraint requirements.lock" in DOCKERFILE
    (locked,) = re.findall(r"^ray==(\S+)", LOCK, re.MULTILINE)
    (cluster,) = named("RayCluster").values()
    assert cluster["spec"]["rayVersion"] == locked


def test_the_image_gets_files_and_extras_that_there_are() -> None:
    for line in re.findall(r"^COPY (.+)", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (TOP / source).exists()
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    ignored = (TOP / ".dockerignore").read_text().split()
    assert not {"flows", "kodosumi_prefect", "requirements.lock"} & set(ignored)


def test_compose_services_depend_on_services_that_can_say_that_they_are_ready() -> None:
    assert set(COMPOSE) <= {"name", "services", "volumes"} | {k for k in COMPOSE if k[:2] == "x-"}
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert condition["condition"] == "service_completed_successfully"
                assert "restart" in SERVICES[other]
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            inside = DEPLOYMENTS / "compose" / source
            assert source in COMPOSE["volumes"] or inside.exists()
        if "build" in service:
            context = DEPLOYMENTS / "compose" / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).exists()


def listening(process: Process) -> set[int]:
    """The ports that a command says it listens on."""
    command = " ".join(process.command).replace("=", " ")
    found = re.findall(r"--(?:port|dashboard-port|ray-client-server-port) (\d+)", command)
    if "--with-healthcheck" in command:
        found.append(process.environment["PREFECT_WORKER_WEBSERVER_PORT"])
    return {5432} if process.image.startswith("postgres:") else {int(port) for port in found}


def test_every_port_in_compose_is_one_that_somebody_listens_on() -> None:
    by_name = {process.name: listening(process) for process in in_compose()}
    for process in in_compose():
        for published in process.raw.get("ports", ()):
            assert int(published.rpartition(":")[2]) in by_name[process.name]
        probe = " ".join(process.raw.get("healthcheck", {}).get("test", ()))
        for port in re.findall(r"127\.0\.0\.1:(\d+)", probe):
            assert int(port) in by_name[process.name]
        for text in [*process.environment.values(), *process.command]:
            for host, port in re.findall(r"(?:@|//|=)([a-z][a-z-]*):(\d+)", text):
                assert int(port) in by_name[host], text


def test_what_has_no_accounts_is_published_to_this_machine_only() -> None:
    for name in ("prefect", "ray-head"):
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
    assert "ports" not in SERVICES["postgres"]


@pytest.mark.parametrize("found", OBJECTS, ids=lambda o: f"{o['kind']} {o['metadata']['name']}")
def test_every_object_has_what_kubernetes_refuses_it_without(found: dict[str, Any]) -> None:
    version, fields = REQUIRED[found["kind"]]
    assert found["apiVersion"] == version
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", found["metadata"]["name"])
    for field in fields:
        assert at(found, field) is not None, field
    for field in ("data", "stringData"):
        assert all(isinstance(value, str) for value in found.get(field, {}).values())


def test_selectors_choose_the_pods_of_their_deployments() -> None:
    deployments = named("Deployment")
    for found in deployments.values():
        labels = found["spec"]["template"]["metadata"]["labels"]
        assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for name, service in named("Service").items():
        (chosen,) = [
            d
            for d in deployments.values()
            if service["spec"]["selector"].items()
            <= d["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = chosen["spec"]["template"]["spec"]["containers"][0]["ports"]
        for port in service["spec"]["ports"]:
            (target,) = [p for p in ports if p["name"] == port["targetPort"]]
            assert target["containerPort"] == port["port"], name


def test_every_port_in_kubernetes_is_one_that_somebody_listens_on() -> None:
    services = {
        name: {port["port"] for port in service["spec"]["ports"]}
        for name, service in named("Service").items()
    }
    ray: set[int] = set()
    for process in in_kubernetes():
        ports = {port["containerPort"] for port in process.raw.get("ports", ())}
        names = {port["name"] for port in process.raw.get("ports", ())}
        if process.name.endswith(" head"):
            ray = ports
        else:
            assert ports == listening(process), process.name
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in process.raw:
                assert process.raw[probe]["httpGet"]["port"] in names
        resources = process.raw["resources"]
        assert resources["requests"] and resources["limits"]["memory"]
    services |= {f"{name}-head-svc": ray for name in named("RayCluster")}
    for process in in_kubernetes():
        for text in process.environment.values():
            for host, port in re.findall(r"//([a-z][a-z-]*):(\d+)", text):
                assert int(port) in services[host], text
    (ingress,) = named("Ingress").values()
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] in services


def test_secrets_that_are_referred_to_exist_or_are_kuberays() -> None:
    made = {(name, "auth_token") for name in named("RayCluster")}
    for process in in_kubernetes():
        for variable in process.raw.get("env", ()):
            if reference := at(variable, "valueFrom.secretKeyRef"):
                assert (reference["name"], reference["key"]) in made
    (cluster,) = named("RayCluster").values()
    assert cluster["spec"]["authOptions"]["mode"] == "token"


def test_no_secret_has_a_value_and_no_pod_runs_as_root() -> None:
    assert not set(EXAMPLES) & set(KUSTOMIZATION["resources"])
    for secret in named("Secret").values():
        assert all("change-me" in value for value in secret["stringData"].values())
    for name, template in pods():
        assert template["spec"]["securityContext"]["runAsNonRoot"], name
        for container in template["spec"]["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)


def test_the_database_url_is_not_given_to_ray() -> None:
    for process in PROCESSES:
        if process.name.startswith(("ray-", "kodosumi-ray ")):
            assert not any("DATABASE" in name for name in process.environment)


def test_the_base_job_template_is_json() -> None:
    assert "variables" in json.loads((DEPLOYMENTS / "base-job-template.json").read_text())


def test_prefects_server_asks_for_what_its_clients_have() -> None:
    """Who reaches Prefect without authentication runs code in our work pools."""
    for processes in (in_compose(), in_kubernetes()):
        (server,) = [p for p in processes if p.command[:3] == ["prefect", "server", "start"]]
        secret = server.environment["PREFECT_SERVER_API_AUTH_STRING"]
        assert secret.startswith("admin:")
        assert "*" not in server.environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
        clients = [p for p in processes if {"worker", "observer", "panel"} & set(p.command)]
        assert len(clients) == 3, [p.name for p in clients]
        assert {p.environment["PREFECT_API_AUTH_STRING"] for p in clients} == {secret}
        nodes = [p for p in processes if "ray" in p.name]
        assert nodes
        assert not any("PREFECT_API_AUTH_STRING" in p.environment for p in nodes)
