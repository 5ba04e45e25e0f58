//go:build !purego

#include "textflag.h"

// BYTES ors into DX the bits of the 16 bytes of block that equal those of want,
// shifted to their place.
#define BYTES(block, want, shift) \
	MOVO     block, X6;  \
	PCMPEQB  want, X6;   \
	PMOVMSKB X6, AX;     \
	SHLQ     $shift, AX; \
	ORQ      AX, DX

#define SPREAD(byte, to) \
	MOVQ       $byte, AX; \
	MOVQ       AX, to;    \
	PUNPCKLQDQ to, to

// func masks(block *[64]byte) (quotes, slashes uint64)
TEXT ·masks(SB), NOSPLIT, $0-24
	MOVQ  block+0(FP), SI
	MOVOU 0(SI), X0
	MOVOU 16(SI), X1
	MOVOU 32(SI), X2
	MOVOU 48(SI), X3
	SPREAD(0x2222222222222222, X4)
	SPREAD(0x5c5c5c5c5c5c5c5c, X5)
	XORQ  DX, DX
	BYTES(X0, X4, 0)
	BYTES(X1, X4, 16)
	BYTES(X2, X4, 32)
	BYTES(X3, X4, 48)
	MOVQ  DX, quotes+8(FP)
	XORQ  DX, DX
	BYTES(X0, X5, 0)
	BYTES(X1, X5, 16)
	BYTES(X2, X5, 32)
	BYTES(X3, X5, 48)
	MOVQ  DX, slashes+16(FP)
	RET
