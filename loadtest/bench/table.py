"""Write the benchmark's results as the Markdown tables of docs/measurements/bench.md. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loadtest.bench.catalog import SERVERS
from loadtest.bench.crop_sets import LABELS, MNIST, SQUARE
from loadtest.bench.targets import Rows, measured_targets, median, ratio_of
from loadtest.servers import OURS

BEGIN: Final = "<!-- tables: written by `python -m loadtest bench` -->"
END: Final = "<!-- end of tables -->"


def insert(document: str, tables: str) -> str:
    """Replace the text between the two marks.

    Raises:
        ValueError: the document lacks a mark.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def render(results: Mapping[str, Any]) -> str:
    """The table of every measured part, each with date, hardware and command."""
    writers: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "saturation": saturation,
        "latency": latency,
        "batching": batching,
        "crops": many_crops,
        "bulk": bulk,
        "stages": stages,
        "field": field,
        "start": start,
    }
    texts = [
        f"{writers[name](part)}\n\n{provenance(part)}\n"
        for name, part in results["parts"].items()
        if name in writers
    ]
    return "\n".join([targets(results["parts"]), *texts])


def provenance(part: Mapping[str, Any]) -> str:
    """When, on what and by which command a part was measured."""
    return f"{part['date']}, {part['machine']}, commit {part['commit']}: `{part['command']}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _absent(part: Mapping[str, Any], columns: int) -> list[list[str]]:
    return [
        [SERVERS[name].label, f"did not take part: {why}", *[""] * (columns - 2)]
        for name, why in part.get("absent", {}).items()
    ]


def saturation(part: Mapping[str, Any]) -> str:
    """Rate, ratios and processor time at saturation, for each crop set."""
    rows: Rows = part["rows"]
    crops = crops_of(part)
    header = ["Server"]
    for name in crops:
        label = LABELS[name]
        header += [f"{label}: requests/s per core", "Digitline's rate / rate", "CPU us/request"]
    header += ["requests without answer 200"]
    body = []
    for server, row in rows.items():
        cells = [SERVERS[server].label]
        for name in crops:
            ratio = ratio_of(rows, OURS, server, f"rps_{name}")
            cells += [
                f"{median(row, f'rps_{name}'):,.0f}",
                f"{ratio:.1f}x" if ratio else "",
                f"{median(row, f'cpu_us_{name}'):,.0f}",
            ]
        errors = sum(sum(row[f"errors_{name}"]["rounds"]) for name in crops)
        body.append([*cells, f"{errors:.0f}"])
    title = "### Saturation: wrk with 32 connections, server on one core\n\n"
    return title + _table(header, body + _absent(part, len(header)))


def crops_of(part: Mapping[str, Any]) -> list[str]:
    """The crop sets that a part measured; results before 2026-11-26 name none."""
    return list(part.get("crops", [MNIST, SQUARE]))


def targets(parts: Mapping[str, Any]) -> str:
    """Each target of the benchmark as one ratio of figures measured in one run."""
    body = [
        [one.what, one.shown, f"{one.sign} {one.limit:g}{one.unit}", "yes" if one.met else "no"]
        for one in measured_targets(parts)
    ]
    return "### Targets\n\n" + _table(["Figure", "Measured", "Target", "Met"], body) + "\n"


def latency(part: Mapping[str, Any]) -> str:
    """Latency at 100 RPS before and after bursts."""
    header = ["Server", "p50 ms", "p99 ms", "burst of 256: last answer, ms", "failed in bursts"]
    header += ["p50 ms after bursts", "p99 ms after bursts", "failed at 100 requests/s"]
    body = []
    for name, row in part["rows"].items():
        failed = sum(row["failed"]["rounds"]) + sum(row["after_failed"]["rounds"])
        body.append(
            [
                SERVERS[name].label,
                *(f"{median(row, key):.1f}" for key in ("p50_ms", "p99_ms")),
                f"{median(row, 'burst_max_ms'):.0f}",
                f"{sum(row['burst_failed']['rounds']):.0f}",
                *(f"{median(row, key):.1f}" for key in ("after_p50_ms", "after_p99_ms")),
                f"{failed:.0f}",
            ]
        )
    title = "### Latency at 100 requests/s, open loop, before and after bursts of 256 requests\n\n"
    return title + _table(header, body + _absent(part, len(header)))


def batching(part: Mapping[str, Any]) -> str:
    """Our batcher and BentoML's at 1 to 128 callers."""
    header = ["Callers", *(SERVERS[name].label for name in part["rows"])]
    body = []
    for callers in (1, 8, 32, 128):
        cells = [
            f"{median(row, f'rps_{callers}'):,.0f}/s, p50 {median(row, f'p50_ms_{callers}'):.1f}"
            f", p99 {median(row, f'p99_ms_{callers}'):.1f} ms"
            f", failed {sum(row[f'errors_{callers}']['rounds']):.0f}"
            for row in part["rows"].values()
        ]
        body.append([str(callers), *cells])
    burst = [
        f"last answer {median(row, 'burst_max_ms'):.0f} ms"
        f", failed {sum(row['burst_failed']['rounds']):.0f}"
        for row in part["rows"].values()
    ]
    title = "### Micro-batching: our batcher and BentoML's\n\n"
    return title + _table(header, [*body, ["256 at once", *burst]])


def many_crops(part: Mapping[str, Any]) -> str:
    """Crops a second in bulk requests, and in a bare loop of the same work."""
    row = part["rows"][OURS]
    bare = {kind: median(row, f"bare_{kind}") for kind in ("packed", "loose", "files")}
    labels = {
        "packed_64": "64 packed crops",
        "packed_256": "256 packed crops",
        "packed_1024": "1,024 packed crops",
        "loose_256": "256 packed crops, not in MNIST's frame",
        "files_64": "64 PNG files",
    }
    body = []
    for key, label in labels.items():
        rate, limit = median(row, key), bare[key.split("_")[0]]
        body.append([label, f"{rate:,.0f}", f"{limit:,.0f}", f"{rate / limit:.0%}"])
    header = ["`POST /v1/digits`", "crops/s per core", "bare loop: crops/s", "share of bare loop"]
    return "### Many crops in one request\n\n" + _table(header, body)


def bulk(part: Mapping[str, Any]) -> str:
    """Jobs of `python -m bulk`: shares of the bare loop, and engines beside each other."""
    labels = {
        "parquet_files": "Parquet of PNG files, 28 px",
        "parquet_arrays": "Parquet of 28x28 arrays",
        "files_28": "PNG files, 28 px",
        "files_scanned": "PNG and JPEG files as scanners send them",
    }
    jobs = [
        [label, *(f"{median(part['rows'][name], key):.0f}" for key in ("bare_us", "job_us")),
         f"{median(part['rows'][name], 'share'):.0%}"]
        for name, label in labels.items()
    ]  # fmt: skip
    names = {
        "one_process": "one process",
        "two_processes": "two processes",
        "ray_ours": "the same job on Ray, two nodes of one CPU",
        "ray_map": "Ray Data, `map`, one crop a call",
        "ray_batches": "Ray Data, `map_batches` of 256",
    }
    rates = part["rows"]["engines"]
    one = median(rates, "one_process")
    engines = [
        [
            label,
            f"{median(rates, name):,.0f}",
            f"{median(rates, name) / one:.2f}x",
            f"{median(rates, f'{name}_start_s'):.1f}",
        ]
        for name, label in names.items()
        if name in rates
    ] + [
        [name, f"did not take part: {why}", "", ""] for name, why in part.get("absent", {}).items()
    ]
    header = ["Job", "bare loop: CPU us a crop", "job: CPU us a crop", "share of bare loop"]
    return (
        "### Jobs of `python -m bulk`, one process\n\n"
        + _table(header, jobs)
        + "\n\n### Engines, 28x28 arrays, two cores\n\n"
        + _table(["Engine", "crops/s", "of one process", "start, s"], engines)
    )


def stages(part: Mapping[str, Any]) -> str:
    """Microseconds of each stage."""
    names = {
        "decode_us_28": "decode a 28 px PNG",
        "decode_us_128": "decode a clean 128 px PNG",
        "decode_us_noisy_128_png": "decode a noisy 128 px PNG",
        "decode_us_noisy_128_jpeg": "decode a noisy 128 px JPEG",
        "preprocess_us_28": "preprocess a 28 px crop in MNIST's frame",
        "preprocess_us_28_of_32": "preprocess 32 such crops together, per crop",
        "preprocess_us_28_loose": "preprocess a 28 px crop not in MNIST's frame",
        "preprocess_us_128": "preprocess a 128 px crop",
        **{
            f"inference_us_batch_{size}": f"inference, batch of {size}, per crop"
            for size in (1, 8, 32, 64)
        },
        "append_us_28": "capture: append a record with a 28 px crop (median)",
        "append_us_128": "capture: append a record with a 128 px crop (median)",
    }
    measured = part["rows"]
    rows = [[label, f"{measured[key]:.1f}"] for key, label in names.items() if key in measured]
    return "### Stages, one thread\n\n" + _table(["Stage", "us"], rows)


def field(part: Mapping[str, Any]) -> str:
    """Milliseconds of each step of a whole field, and of its digits as single crops."""
    names = ("find_pieces_ms", "inference_ms", "read_field_ms")
    body = []
    for name, row in part["rows"].items():
        total = sum(row[key] for key in names)
        body.append(
            [
                name,
                *(f"{row[key]:.1f}" for key in names),
                f"{row['num_pieces']:.0f}",
                f"{row['crops_ms']:.1f}",
                f"{total / row['crops_ms']:.1f}x",
            ]
        )
    header = ["Field", "find pieces, ms", "inference, ms", "read code, ms", "pieces"]
    header += ["its digits as single crops, ms", "field / crops"]
    return "### A whole field, processor time of one thread\n\n" + _table(header, body)


def start(part: Mapping[str, Any]) -> str:
    """Start-up and memory."""
    row = part["rows"]
    growth = row["rss_mb_100000"] - row["rss_mb_10000"]
    rows = [
        ["start until `/readyz` answers 200, files cached", f"{row['ready_s']:.2f} s"],
        ["resident memory of all processes after 10,000 requests", f"{row['rss_mb_10000']:.1f} MB"],
        ["resident memory after 100,000 requests", f"{row['rss_mb_100000']:.1f} MB"],
        ["growth between the two", f"{growth:+.1f} MB"],
        [
            "proportional memory (shared pages divided) after 100,000 requests",
            f"{row['pss_mb_100000']:.1f} MB",
        ],
    ]
    return "### Start and memory\n\n" + _table(["Figure", "Value"], rows)


def dump(results: Mapping[str, Any]) -> str:
    """The results as JSON text."""
    return json.dumps(results, indent=1) + "\n"
