// Package platformservice is a chapter as small as can be.
package platformservice

// Sum adds a and b.
func Sum(a, b int) int {
	return 0
}
