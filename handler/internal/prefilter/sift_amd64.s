//go:build !purego

#include "textflag.h"

// The vectors hold one block: Y0 to Y4 are the nibbles, Y6 is 15 in every byte,
// Y7 collects all bytes by or, Y8 by the smallest, Y15 is zero. SI is the block in
// the text, CX the end of the last one.
#define LOAD \
	SHLQ    $5, CX;             \
	ADDQ    SI, CX;             \
	VMOVDQU 0(DI), Y0;          \
	VMOVDQU 32(DI), Y1;         \
	VMOVDQU 64(DI), Y2;         \
	VMOVDQU 96(DI), Y3;         \
	VMOVDQU 128(DI), Y4;        \
	MOVL    $0x0f0f0f0f, AX;    \
	VMOVD   AX, X6;             \
	VPBROADCASTD X6, Y6;        \
	VPXOR   Y7, Y7, Y7;         \
	VPCMPEQB Y8, Y8, Y8;        \
	VPXOR   Y15, Y15, Y15

// GROUPS leaves in Y9 the buckets that each byte of the block may begin. A byte
// that is not ASCII fits none, because VPSHUFB answers such with zero.
#define GROUPS \
	VMOVDQU (SI), Y10;          \
	VPOR    Y10, Y7, Y7;        \
	VPMINUB Y10, Y8, Y8;        \
	VPSRLW  $4, Y10, Y13;       \
	VPAND   Y6, Y13, Y13;       \
	VPSHUFB Y10, Y0, Y9;        \
	VPSHUFB 1(SI), Y2, Y10;     \
	VPSHUFB 2(SI), Y3, Y11;     \
	VPSHUFB 3(SI), Y4, Y12;     \
	VPSHUFB Y13, Y1, Y13;       \
	VPAND   Y10, Y9, Y9;        \
	VPAND   Y11, Y12, Y12;      \
	VPAND   Y13, Y9, Y9;        \
	VPAND   Y12, Y9, Y9

// MASK leaves in AX a bit for each byte of Y9 that is not zero.
#define MASK \
	VPCMPEQB  Y15, Y9, Y9;      \
	VPMOVMSKB Y9, AX;           \
	NOTL      AX

// HARMLESS goes to yes if the first bit of AX is at an escape that hides nothing:
// those that Go's encoder writes for &, < and >.
DATA escapes<>+0(SB)/8, $0x36323030755c0000
DATA escapes<>+8(SB)/8, $0x63333030755c0000
DATA escapes<>+16(SB)/8, $0x65333030755c0000
GLOBL escapes<>(SB), RODATA|NOPTR, $24

#define HARMLESS(yes) \
	TZCNTL AX, BX;                 \
	MOVQ   (SI)(BX*1), DX;         \
	SHLQ   $16, DX;                \
	CMPQ   DX, escapes<>+0(SB);    \
	JEQ    yes;                    \
	CMPQ   DX, escapes<>+8(SB);    \
	JEQ    yes;                    \
	CMPQ   DX, escapes<>+16(SB);   \
	JEQ    yes

// WORD leaves in the first bit of bit whether the bit of the word at off is set in
// the table.
#define WORD(off, bit) \
	ANDNL   off(SI), R13, DX;   \
	IMULL   R12, DX;            \
	SHRXL   R9, DX, BX;         \
	SHRXL   DX, (R8)(BX*4), bit

#define ORWORD(off) \
	WORD(off, BX);              \
	ORL     BX, R11

// DONE leaves the number of the block at SI there, and in BX what Y7 and Y8 tell.
#define DONE(text) \
	SUBQ      text, SI;           \
	SHRQ      $5, SI;             \
	XORL      BX, BX;             \
	VPMOVMSKB Y7, DX;             \
	TESTL     DX, DX;             \
	SETNE     BX;                 \
	VPCMPEQB  Y15, Y8, Y8;        \
	VPMOVMSKB Y8, DX;             \
	TESTL     DX, DX;             \
	JEQ       ascii;              \
	ORL       $2, BX;             \
ascii: \
	VZEROUPPER

// func siftGroups(nibbles, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftGroups(SB), NOSPLIT, $0-40
	MOVQ nibbles+0(FP), DI
	MOVQ text+8(FP), SI
	MOVQ n+16(FP), CX
	LOAD

next:
	GROUPS
	VPTEST Y9, Y9
	JNE    candidate

advance:
	ADDQ $32, SI
	CMPQ SI, CX
	JB   next
	XORL AX, AX

done:
	DONE(text+8(FP))
	MOVQ SI, block+24(FP)
	MOVL AX, mask+32(FP)
	MOVL BX, found+36(FP)
	RET

candidate:
	MASK

escape:
	HARMLESS(drop)
	JMP done

drop:
	BLSRL AX, AX
	JNE   escape
	JMP   advance

// func siftWords(nibbles *uint8, table *uint32, multiplier, shift uint32, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftWords(SB), NOSPLIT, $0-56
	MOVQ   nibbles+0(FP), DI
	MOVQ   text+24(FP), SI
	MOVQ   n+32(FP), CX
	LOAD
	MOVQ   table+8(FP), R8
	MOVL   multiplier+16(FP), R12
	MOVL   shift+20(FP), R9
	MOVL   $0x20202020, R13

next:
	GROUPS
	WORD(0, R11)
	ORWORD(8)
	ORWORD(16)
	ORWORD(24)
	VPTEST Y9, Y9
	JNE    candidate

hashes:
	TESTL  $1, R11
	JNE    none
	ADDQ   $32, SI
	CMPQ   SI, CX
	JB     next

none:
	XORL   AX, AX

done:
	DONE(text+24(FP))
	MOVQ   SI, block+40(FP)
	MOVL   AX, mask+48(FP)
	MOVL   BX, found+52(FP)
	RET

candidate:
	MASK

escape:
	HARMLESS(drop)
	JMP    done

drop:
	BLSRL  AX, AX
	JNE    escape
	JMP    hashes
