#include "textflag.h"

// func int80(nr uintptr) int32
TEXT ·int80(SB),NOSPLIT,$0-12
	MOVQ	nr+0(FP), AX
	XORL	BX, BX
	XORL	CX, CX
	XORL	DX, DX
	INT	$0x80
	MOVL	AX, ret+8(FP)
	RET
