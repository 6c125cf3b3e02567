package apt

import "context"

// lockFile does nothing: nothing is installed on Windows.
func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
