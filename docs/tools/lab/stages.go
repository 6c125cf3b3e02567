package main

import (
	"microcomm/docs/tools/internal/repo"
)

// findStage returns the index in l.stages of the stage called 06, 6 or 06-rabbitmq.
func (l *lab) findStage(name string) (int, error) { return repo.FindStage(l.stages, name) }
