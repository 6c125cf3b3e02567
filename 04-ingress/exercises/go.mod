// A module of its own without a package: the tests here belong to docs/tests/manifests, and
// without this file go mod tidy would add what they import to the chapter's go.mod.
module microcomm/04-ingress/exercises

go 1.26.0
