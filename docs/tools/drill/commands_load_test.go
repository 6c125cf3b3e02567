package main

import "testing"

func TestJudgeDirect(t *testing.T) {
	platforms := map[int32]string{directPlatform: "p-0", directPlatform + 2: "p-2"}
	commands := map[int32]string{1: "c-1", 2: "c-2", 3: "c-4"}
	ok := []directWrite{
		{name: "p-0", id: directPlatform, status: 200},
		{name: "p-2", id: directPlatform + 2, status: 200},
		{name: "p-3", id: directPlatform + 3, status: 503, retryAfter: true},
		{command: true, name: "c-1", id: 1, status: 201},
		{command: true, name: "c-2", id: 2, status: 201},
		{command: true, name: "c-3", status: 503, retryAfter: true},
	}
	for what, test := range map[string]struct {
		and  directWrite
		want directVerdict
	}{
		"a command that is stored":                  {directWrite{command: true, name: "c-4", id: 3, status: 201}, directVerdict{commands: 3, platforms: 2, refused: 2}},
		"a command that is not":                     {directWrite{command: true, name: "c-5", id: 5, status: 201}, directVerdict{commands: 3, platforms: 2, refused: 2, missing: 1}},
		"a command under the id of another":         {directWrite{command: true, name: "c-5", id: 2, status: 201}, directVerdict{commands: 3, platforms: 2, refused: 2, missing: 1, repeated: 1}},
		"a platform that is not":                    {directWrite{name: "p-4", id: directPlatform + 4, status: 200}, directVerdict{commands: 2, platforms: 3, refused: 2, missing: 1}},
		"one that was refused and stored":           {directWrite{command: true, name: "c-4", status: 503, retryAfter: true}, directVerdict{commands: 2, platforms: 2, refused: 3, phantom: 1}},
		"a 503 that does not say when to try again": {directWrite{name: "p-4", status: 503}, directVerdict{commands: 2, platforms: 2, refused: 2, failed: 1}},
		"a 500":       {directWrite{name: "p-4", status: 500}, directVerdict{commands: 2, platforms: 2, refused: 2, failed: 1}},
		"no response": {directWrite{command: true, name: "c-4"}, directVerdict{commands: 2, platforms: 2, refused: 2, failed: 1}},
	} {
		if got := judgeDirect(append(ok[:len(ok):len(ok)], test.and), platforms, commands); got != test.want {
			t.Errorf("%s: got %+v, want %+v", what, got, test.want)
		}
	}
}
