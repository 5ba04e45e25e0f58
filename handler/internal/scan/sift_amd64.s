//go:build !purego

#include "textflag.h"

// The vectors hold one block: Y0 to Y4 are the nibbles, Y6 is 15 in every byte,
// Y7 collects all bytes by or, Y8 by the smallest, Y15 is zero. SI is the block in
// the text, R10 its number of CX.
#define LOAD \
	MOVQ    nibbles+0(FP), DI;  \
	MOVQ    text+24(FP), SI;    \
	MOVQ    n+32(FP), CX;       \
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
	VPXOR   Y15, Y15, Y15;      \
	XORQ    R10, R10

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

// WORD sets the first bit of R11 if the bit of the word at off is set in the table.
#define WORD(off) \
	MOVL    off(SI), DX;        \
	ORL     $0x20202020, DX;    \
	IMULL   $0x9E3779B1, DX;    \
	SHRXL   R9, DX, BX;         \
	SHRXL   DX, (R8)(BX*4), BX; \
	ORL     BX, R11

// DONE returns block R10 with mask AX.
#define DONE \
	MOVQ      R10, block+40(FP);  \
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

// func siftGroups(nibbles *uint8, table *uint32, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftGroups(SB), NOSPLIT, $0-56
	LOAD

next:
	XORL   AX, AX
	CMPQ   R10, CX
	JGE    done
	GROUPS
	VPTEST Y9, Y9
	JNE    candidate

advance:
	ADDQ $32, SI
	INCQ R10
	JMP  next

candidate:
	MASK

escape:
	HARMLESS(drop)
	JMP done

drop:
	BLSRL AX, AX
	JNE   escape
	JMP   advance

done:
	DONE

// func siftWords8(nibbles *uint8, table *uint32, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftWords8(SB), NOSPLIT, $0-56
	LOAD
	MOVQ table+8(FP), R8
	MOVQ shift+16(FP), R9

next:
	XORL   AX, AX
	CMPQ   R10, CX
	JGE    done
	GROUPS
	XORL   R11, R11
	WORD(0)
	WORD(8)
	WORD(16)
	WORD(24)
	VPTEST Y9, Y9
	JNE    candidate

words:
	TESTL $1, R11
	JNE   done
	ADDQ  $32, SI
	INCQ  R10
	JMP   next

candidate:
	MASK

escape:
	HARMLESS(drop)
	JMP done

drop:
	BLSRL AX, AX
	JNE   escape
	JMP   words

done:
	DONE

// func siftWords4(nibbles *uint8, table *uint32, shift int, text *uint8, n int) (block int, mask, found uint32)
TEXT ·siftWords4(SB), NOSPLIT, $0-56
	LOAD
	MOVQ table+8(FP), R8
	MOVQ shift+16(FP), R9

next:
	XORL   AX, AX
	CMPQ   R10, CX
	JGE    done
	GROUPS
	XORL   R11, R11
	WORD(0)
	WORD(4)
	WORD(8)
	WORD(12)
	WORD(16)
	WORD(20)
	WORD(24)
	WORD(28)
	VPTEST Y9, Y9
	JNE    candidate

words:
	TESTL $1, R11
	JNE   done
	ADDQ  $32, SI
	INCQ  R10
	JMP   next

candidate:
	MASK

escape:
	HARMLESS(drop)
	JMP done

drop:
	BLSRL AX, AX
	JNE   escape
	JMP   words

done:
	DONE
