//go:build exercise

package platformservice

import "testing"

func TestPositive(t *testing.T) {
	if got := Sum(1, 2); got != 3 {
		t.Fatalf("Sum(1, 2) is %d, want 3", got)
	}
}

func TestNegative(t *testing.T) {
	t.Run("both", func(t *testing.T) {
		if got := Sum(-1, -2); got != -3 {
			t.Errorf("Sum(-1, -2) is %d, want -3", got)
		}
	})
}
