package platformservice

import "testing"

func TestSumOfNothing(t *testing.T) {
	if got := Sum(0, 0); got != 0 {
		t.Errorf("Sum(0, 0) is %d", got)
	}
}
