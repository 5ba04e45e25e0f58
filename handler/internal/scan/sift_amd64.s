//go:build !purego

#include "textflag.h"

// The vectors hold one block: Y0 to Y5 are the nibbles, Y6 is 15 in every byte,
// Y7 collects all bytes by or, Y8 by the smallest, Y15 is zero.
#define LOAD \
	MOVQ    nibbles+0(FP), DI;  \
	MOVQ    text+24(FP), SI;    \
	MOVQ    n+32(FP), CX;       \
	VMOVDQU 0(DI), Y0;          \
	VMOVDQU 32(DI), Y1;         \
	VMOVDQU 64(DI), Y2;         \
	VMOVDQU 96(DI), Y3;         \
	VMOVDQU 128(DI), Y4;        \
	VMOVDQU 160(DI), Y5;        \
	MOVL    $0x0f0f0f0f, AX;    \
	MOVQ    AX, X6;             \
	VPBROADCASTD X6, Y6;        \
	VPXOR   Y7, Y7, Y7;         \
	VPCMPEQB Y8, Y8, Y8;        \
	VPXOR   Y15, Y15, Y15;      \
	XORQ    R10, R10

// GROUPS leaves in Y9 the buckets that each byte of the block may begin. A byte
// that is not ASCII fits none, because VPSHUFB answers such with zero.
#define GROUPS \
	VMOVDQU (SI), Y9;           \
	VMOVDQU 1(SI), Y10;         \
	VMOVDQU 2(SI), Y11;         \
	VPOR    Y9, Y7, Y7;         \
	VPMINUB Y9, Y8, Y8;         \
	VPSRLW  $4, Y9, Y12;        \
	VPSRLW  $4, Y10, Y13;       \
	VPSRLW  $4, Y11, Y14;       \
	VPAND   Y6, Y12, Y12;       \
	VPAND   Y6, Y13, Y13;       \
	VPAND   Y6, Y14, Y14;       \
	VPSHUFB Y9, Y0, Y9;         \
	VPSHUFB Y12, Y1, Y12;       \
	VPSHUFB Y10, Y2, Y10;       \
	VPSHUFB Y13, Y3, Y13;       \
	VPSHUFB Y11, Y4, Y11;       \
	VPSHUFB Y14, Y5, Y14;       \
	VPAND   Y12, Y9, Y9;        \
	VPAND   Y13, Y10, Y10;      \
	VPAND   Y14, Y11, Y11;      \
	VPAND   Y10, Y9, Y9;        \
	VPAND   Y11, Y9, Y9

// WORD adds to acc whether the word at off has the hash of one that is looked for.
#define WORD(off, acc) \
	MOVL    off(SI), AX;        \
	ORL     $0x20202020, AX;    \
	IMULL   $0x9E3779B1, AX;    \
	SHRXL   R9, AX, AX;         \
	MOVBLZX (R8)(AX*1), AX;     \
	ORL     AX, acc

// DONE returns. R10 is the block, Y9 its groups if R11 is not 0.
#define DONE \
	MOVQ      R10, block+40(FP);  \
	XORL      AX, AX;             \
	CMPQ      R10, CX;            \
	JGE       whole;              \
	VPCMPEQB  Y15, Y9, Y9;        \
	VPMOVMSKB Y9, AX;             \
	NOTL      AX;                 \
whole: \
	MOVL      AX, mask+48(FP);    \
	XORL      BX, BX;             \
	VPMOVMSKB Y7, AX;             \
	TESTL     AX, AX;             \
	SETNE     BX;                 \
	VPCMPEQB  Y15, Y8, Y8;        \
	VPMOVMSKB Y8, AX;             \
	TESTL     AX, AX;             \
	JEQ       ascii;              \
	ORL       $2, BX;             \
ascii: \
	MOVL      BX, found+52(FP);   \
	VZEROUPPER;                   \
	RET

// func siftGroups(nibbles *uint8, table *uint8, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftGroups(SB), NOSPLIT, $0-56
	LOAD

next:
	CMPQ   R10, CX
	JGE    done
	GROUPS
	VPTEST Y9, Y9
	JNE    done
	ADDQ   $32, SI
	INCQ   R10
	JMP    next

done:
	DONE

// func siftWords8(nibbles *uint8, table *uint8, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftWords8(SB), NOSPLIT, $0-56
	LOAD
	MOVQ table+8(FP), R8
	MOVQ shift+16(FP), R9

next:
	CMPQ   R10, CX
	JGE    done
	XORL   R11, R11
	XORL   R12, R12
	GROUPS
	WORD(0, R11)
	WORD(8, R12)
	WORD(16, R11)
	WORD(24, R12)
	VPTEST Y9, Y9
	JNE    done
	ORL    R12, R11
	JNE    done
	ADDQ   $32, SI
	INCQ   R10
	JMP    next

done:
	DONE

// func siftWords4(nibbles *uint8, table *uint8, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftWords4(SB), NOSPLIT, $0-56
	LOAD
	MOVQ table+8(FP), R8
	MOVQ shift+16(FP), R9

next:
	CMPQ   R10, CX
	JGE    done
	XORL   R11, R11
	XORL   R12, R12
	GROUPS
	WORD(0, R11)
	WORD(4, R12)
	WORD(8, R11)
	WORD(12, R12)
	WORD(16, R11)
	WORD(20, R12)
	WORD(24, R11)
	WORD(28, R12)
	VPTEST Y9, Y9
	JNE    done
	ORL    R12, R11
	JNE    done
	ADDQ   $32, SI
	INCQ   R10
	JMP    next

done:
	DONE
