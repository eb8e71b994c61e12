/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms, as people name them: OS/ARCH or OS/ARCH/VARIANT. */
#pragma once

struct platform {
	char os[32], architecture[32], variant[32]; /* "": any variant */
};

/* 0 or ERR_INVALID. */
int platform_parse(const char *text, struct platform *platform);
