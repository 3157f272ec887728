//go:build !linux

package store

import "errors"

// reflink is not tried here.
func reflink(string, string) error { return errors.ErrUnsupported }
