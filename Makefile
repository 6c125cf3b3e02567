# A thin face on the lab's tool; see: go tool lab help

.PHONY: help run test verify doctor proto recordings screenshots

help: ## list these targets
	@sed -n 's/^\([a-z]*\): ## /  make \1	/p' Makefile
	@echo '  go tool lab help	more: one stage, diffs'

run: ## start the whole system (final) until Ctrl-C
	@go tool lab run final

test: ## run every test, with a broker found or started first
	@go tool lab test

verify: ## run the documentation: its commands, snippets, links and requests
	@go tool lab verify

doctor: ## say what this machine lacks
	@go tool lab doctor

recordings: ## record again what the console's page plays
	@set -e; for drill in '02 commands-down' '06 subscriber-down' '06 broker-crash' '07 subscriber-down' 'final broker-crash --short'; do \
		set -- $$drill; go tool lab drill $$drill --record final/console/page/console/$$1-$$2.ndjson; \
	done; cd docs && go run ./tools/screenshots --record

screenshots: ## make the pictures of the console again, from its recordings
	@cd docs && go run ./tools/screenshots

proto: ## generate the gRPC code again, after an edit of a platforms.proto
	@go tool protogen
