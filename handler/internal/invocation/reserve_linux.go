package invocation

import "syscall"

// reserve returns size bytes of addresses, which take memory only where they are
// written to; nil if the system refuses. The garbage collector does not know
// them: who has them must give them back, and nothing may be read afterwards.
func reserve(size int) []byte {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return b
}

// unreserve gives back all that reserve returned.
func unreserve(b []byte) { _ = syscall.Munmap(b) }

// shrink gives back the memory of a reserved buffer beyond keep, not the
// addresses.
func shrink(b []byte, keep int) { _ = syscall.Madvise(b[keep:], syscall.MADV_DONTNEED) }
