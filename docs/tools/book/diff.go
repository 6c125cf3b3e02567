package main

import "context"

// remarkCount counts the hunks of a stage, and those beside which the lesson says something.
type remarkCount struct{ stage string }

func (r remarkCount) String() string { return "" }

func (b *book) listDiffs(context.Context) error { return nil }

func (b *book) makeDiffs(context.Context) error { return nil }
