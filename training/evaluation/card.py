"""Write MODEL_CARD.md from the numbers of one evaluation.

Pure: text out. Knows nothing about files.
"""

from __future__ import annotations

from contract import costs
from training.champion_folder import Origin
from training.evaluation import harm, thresholds
from training.evaluation.judge import Evaluation
from training.evaluation.thresholds import DEFAULT_ERROR_TARGET

SET_NAMES = {
    "mnist": "MNIST test, raw 28x28",
    "mnist_reframed": "MNIST test, drawn as clean crops",
    "rendered": "MNIST test, rendered as scanner crops, severity 3",
    "held_out_fonts": "printed digits, held-out fonts",
    "uci": "UCI 8x8 digits as crops, other writers, never trained on",
    "semeion": "Semeion 16x16 bits as crops, Italian writers, never trained on",
    "styles": "MNIST test in eleven writing styles, drawn as clean crops",
}
PICTURES = (
    ("mistakes.png", "The most confident mistakes on rendered crops"),
    ("confusion_pairs.png", "The most frequent confusions on rendered crops"),
    ("confusion.png", "Rendered crops: label against answer"),
    ("reliability.png", "Confidence against accuracy"),
    ("risk_coverage.png", "Share of accepted reads that are wrong, for each share accepted"),
    ("corruptions.png", "Accuracy by corruption and severity, %"),
    ("harm.png", "Damaged crops that were accepted and wrong, as the model saw them"),
    ("garbage_roc.png", "Share of garbage refused against share of digits refused"),
    ("learning_curves.png", "Loss and validation accuracy by epoch"),
)


def write_card(version: str, origin: Origin, evaluation: Evaluation) -> str:
    """The whole card."""
    return (
        "\n\n".join(
            [
                f"# Model card: digits, version {version}",
                _intended_use(),
                "The [report](report.html) has these numbers by class, corruption and severity.",
                _origin(origin, evaluation),
                _accuracy(evaluation),
                _confidence(evaluation),
                _garbage(evaluation),
                _harm(evaluation),
                _speed(evaluation),
                _limits(),
                "\n\n".join(f"![{text}](card/{name})" for name, text in PICTURES),
            ]
        )
        + "\n"
    )


def _intended_use() -> str:
    return (
        "Reads one handwritten or printed digit from a scanned crop of a mail piece, with a"
        " confidence. Crops below the threshold are rejected, for a person to read. Not for text,"
        " whole postcodes in one crop, cheques or identity documents."
    )


def _origin(origin: Origin, evaluation: Evaluation) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in origin.libraries.items())
    return (
        "## Origin\n\n"
        f"Network `{origin.network}`, MLflow run `{origin.run_id}`, commit"
        f" `{origin.git_commit[:12]}`, made {origin.created} by `python -m training`"
        f" ({libraries}). Data: MNIST (CC BY-SA 3.0; its first 48,000 training digits to train,"
        " 1,400 for validation, the last 10,000 for the thresholds, without 16 mislabelled ones),"
        f" {origin.num_crops:,} crops rendered from them, {_fonts(evaluation)}."
        f" {_mail(origin)}{_fit(origin)}{_warm_start(origin)}."
        f" File: {evaluation.size_bytes:,} bytes int8, {evaluation.fp32_size_bytes:,} bytes fp32."
    )


def _mail(origin: Origin) -> str:
    """The labelled mail that it was fitted on; empty where there was none."""
    mail = origin.mail
    if mail is None:
        return ""
    sites = ", ".join(f"{name} {num:,}" for name, num in mail.sites.items())
    sources = ", ".join(f"{name} {num:,}" for name, num in mail.sources.items())
    left_out = f" Quarantined: {', '.join(mail.quarantined)}." if mail.quarantined else ""
    return (
        f"Labelled mail: data version `{mail.data_version}`, {mail.num_train:,} crops to train on"
        f" (sites: {sites}; sources: {sources}), {mail.num_test:,} in the test share.{left_out} "
    )


def _fit(origin: Origin) -> str:
    return "Fitted" if origin.mail else f"{origin.num_epochs} epochs"


def _warm_start(origin: Origin) -> str:
    text = ", from fresh weights"
    if origin.warm_start is not None:
        text = f", from the weights `{origin.warm_start[:12]}` of an earlier fit"
    if origin.averaged:
        text += f"; the weights are the mean of the runs {', '.join(origin.averaged)}"
    return text


def _fonts(evaluation: Evaluation) -> str:
    """What the printed digits of training were drawn in; the families are in the manifest."""
    if evaluation.judged is None or not evaluation.judged.train_fonts:
        return "no printed digits (no fonts were found)"
    return (
        f"printed digits and letters in {len(evaluation.judged.train_fonts)} font families"
        f" (another {len(evaluation.judged.held_out_fonts)} are held out)"
    )


def _accuracy(evaluation: Evaluation) -> str:
    rows = [
        "| set | crops | accuracy | 95 % | ECE | accepted | wrong among accepted | EUR a million |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in evaluation.sets.items():
        wrong_low, wrong_high = result.accepted_error_interval
        rows.append(
            f"| {SET_NAMES.get(name, name)} | {result.num:,} | {result.accuracy:.2%} |"
            f" {result.accuracy_low:.2%} to {result.accuracy_high:.2%} | {result.ece:.2%} |"
            f" {result.accepted_frac:.2%} | {result.num_wrong} of {result.num_accepted:,},"
            f" {wrong_low:.3%} to {wrong_high:.3%} | {result.euros_per_million:,.0f} |"
        )
    return (
        "## Accuracy of the int8 model\n\n"
        + "\n".join(rows)
        + "\n\nMean over 12 scanner corruptions at severity 3:"
        f" {evaluation.mean_corruption_accuracy:.2%}. A million reads keyed by people would cost"
        f" {costs.DEFAULT.euros_per_million(1, 0):,.0f} euros; the prices are in"
        " `contract/costs.py`. All numbers: `python -m training evaluate`."
        f"{missing_note(evaluation)}"
    )


def missing_note(evaluation: Evaluation) -> str:
    """Says so where the set of unknown writers was not read; empty where it was."""
    if "semeion" in evaluation.sets:
        return ""
    return (
        " Semeion was not read (UCI did not answer and no copy was named by `--semeion FILE`), so"
        " nothing here is about Italian writers."
    )


def _confidence(evaluation: Evaluation) -> str:
    rows = [
        "| error target | threshold | accepted of the holdout | wrong | upper bound |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {row.error_target:.2%} | {row.threshold:.4f} | {row.accepted_frac:.2%} |"
        f" {row.num_wrong} of {row.num_accepted:,} | {row.error_bound:.3%} |"
        for row in evaluation.thresholds
    ]
    return (
        "## Confidence\n\n"
        f"Temperature {evaluation.temperature:.3f}, fitted on clean and rendered validation"
        f" digits. The thresholds are fitted on {evaluation.thresholds[0].num:,} held-out digits,"
        " one clean or rendered crop of each, whose writers neither training nor the choice of the"
        f" epoch has seen. With {thresholds.CONFIDENCE:.0%} confidence at most the error target of"
        f" accepted reads is wrong (Clopper-Pearson bound, fixed sequence of tests). The default"
        f" target is {DEFAULT_ERROR_TARGET:.1%}.\n\n" + "\n".join(rows)
    )


def _garbage(evaluation: Evaluation) -> str:
    result = evaluation.garbage
    if result is None:
        return "## Not a digit\n\nThis network has no garbage head."
    rows = ["| kind | refused by the head | accepted |", "|---|---|---|"]
    rows += [
        f"| {kind.replace('_', ' ')} | {refused:.1%} | {result.accepted_frac[kind]:.1%} |"
        for kind, refused in result.refused_frac.items()
    ]
    return (
        "## Not a digit\n\n"
        f"Garbage head against rendered digits: AUROC {result.auroc:.2%},"
        f" {result.fpr_at_95_tpr:.1%} of garbage passes at the score where 95 % of digits pass;"
        f" max-softmax alone has AUROC {result.max_softmax_auroc:.2%}.\n\n" + "\n".join(rows)
    )


def _harm(evaluation: Evaluation) -> str:
    """Where the promise ends: damaged crops that are accepted and wrong."""
    kinds = harm.table(evaluation.harm)
    if not kinds:
        return "## Damaged crops\n\nNot measured."
    rows = ["| damage | training sees it | accepted | harm |", "|---|---|---|---|"]
    rows += [
        f"| {row.kind} | {'yes' if row.seen else 'no'} | {row.accepted_frac:.1%} |"
        f" {row.harm_frac:.2%} |"
        for row in kinds
    ]
    return (
        "## Where the promise ends: damaged crops\n\n"
        "The error target holds for mail like the validation set. Harm is accepted and wrong, of"
        " all crops posted with that damage, over three severities. Kinds that training does not"
        " see tell what to expect of the next kind.\n\n"
        + "\n".join(rows)
        + "\n\nOn its head, a 6 is a 9: one crop cannot tell. The service watches each site for"
        " scanners that go bad (docs/operations.md)."
    )


def _speed(evaluation: Evaluation) -> str:
    latency, change = evaluation.latency, evaluation.quantisation
    rows = ["| batch | fp32 us per digit | int8 us per digit | speed-up |", "|---|---|---|---|"]
    rows += [
        f"| {size} | {latency.fp32_us[size]:.0f} | {latency.int8_us[size]:.0f} |"
        f" {latency.fp32_us[size] / latency.int8_us[size]:.1f}x |"
        for size in latency.fp32_us
    ]
    return (
        "## int8 against fp32\n\n"
        f"On the MNIST test set: accuracy {change.fp32_accuracy:.2%} fp32,"
        f" {change.int8_accuracy:.2%} int8; {change.flips_frac:.2%} of labels flipped; mean"
        f" probability shift {change.mean_probability_shift:.4f}. Inference alone, one thread:\n\n"
        + "\n".join(rows)
    )


def _limits() -> str:
    return (
        "## Limits\n\n"
        "The training data is American handwriting of about 1990 and simulated scanners; the 1s, 7s"
        " and 9s of other countries come only from the simulator. Of all garbage, half digits and"
        " pairs of digits are most often read as a digit. Confidence is right on average for mail"
        " like the validation mix, not for each scanner: watch the share of rejected crops."
    )
