"""Scheduled jobs, MLflow and promotion."""

from __future__ import annotations

from mutations.seed import (
    ALARM,
    MACHINE,
    Templates,
    deletes,
    replaces,
    seeds,
    set_variable,
)


@seeds("scheduled_jobs_run_and_lost_starts_raise_an_alarm")
def schedule_switched_off(t: Templates) -> None:
    t.one("Scheduler::Schedule", "Drift")["State"] = "DISABLED"


@seeds("scheduled_jobs_run_and_lost_starts_raise_an_alarm")
def schedule_without_dead_letters(t: Templates) -> None:
    del t.one("Scheduler::Schedule", "Retrain")["Target"]["DeadLetterConfig"]


deletes(
    "scheduled_jobs_run_and_lost_starts_raise_an_alarm",
    {
        "no_alarm_on_the_dead_letters": (ALARM, "Alarmdeadletters"),
    },
)
deletes(
    "the_promised_jobs_are_scheduled",
    {"no_monthly_retraining": ("Scheduler::Schedule", "Retrain")},
)


deletes(
    "mlflow_runs_when_the_retraining_needs_it",
    {
        "database_that_nobody_starts": ("Scheduler::Schedule", "startDBInstance"),
        "database_that_runs_for_ever": ("Scheduler::Schedule", "stopDBInstance"),
        "server_that_nobody_starts": ("Scheduler::Schedule", "updateService1"),
    },
)


replaces(
    "jobs_publish_how_they_ended",
    {
        "failure_without_a_notice": (
            MACHINE,
            "DriftMachine",
            '\\"Next\\":\\"NoticeFailed\\"',
            '\\"Next\\":\\"Failure\\"',
        ),
        "task_with_tags_that_nobody_may_set": (
            MACHINE,
            "RetrainMachine",
            '\\"LaunchType\\"',
            '\\"PropagateTags\\":\\"TASK_DEFINITION\\",\\"LaunchType\\"',
        ),
        "task_that_is_not_awaited": (MACHINE, "DriftMachine", "runTask.sync", "runTask"),
    },
)


@seeds("jobs_publish_how_they_ended")
def machine_that_may_not_pass_the_role(t: Templates) -> None:
    statements = t.policy_of("RetrainMachineRole")
    statements[:] = [s for s in statements if s["Action"] != "iam:PassRole"]


@seeds("mlflow_is_private_and_requires_sign_in")
def mlflow_answers_any_host(t: Templates) -> None:
    set_variable(t.container("mlflow"), "MLFLOW_ALLOWED_HOSTS", "*")


@seeds("mlflow_is_private_and_requires_sign_in")
def mlflow_without_an_administrator(t: Templates) -> None:
    del t.container("mlflow")["Secrets"][2:]


@seeds("mlflow_is_private_and_requires_sign_in")
def jobs_call_mlflow_by_another_name(t: Templates) -> None:
    set_variable(t.container("retrain"), "MLFLOW_TRACKING_URI", "http://mlflow.internal:5000")


replaces(
    "promotion_goes_through_the_canary",
    {
        "promotion_sets_another_fact": (MACHINE, "Release", "/service-image-tag", "/image-tag"),
        "jobs_keep_the_old_champion": (MACHINE, "Release", "/jobs-image-tag", "/old-image-tag"),
        "jobs_are_not_updated": (
            MACHINE,
            "Release",
            "digitline-prod-mlops",
            "digitline-prod-watch",
        ),
    },
)


@seeds("promotion_goes_through_the_canary")
def release_may_not_read_the_version_of_the_bootstrap(t: Templates) -> None:
    t.replace("IAM::Policy", "ReleaseMachineRole", "/cdk-bootstrap/", "/bootstrap/")


@seeds("promotion_goes_through_the_canary")
def pushed_champion_starts_no_release(t: Templates) -> None:
    t.delete("Events::Rule", "ReleasePushed")
