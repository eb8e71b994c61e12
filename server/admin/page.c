/* SPDX-License-Identifier: Apache-2.0 */
/* The page: three files that the program carries within. */
#include "server/admin/admin_internal.h"

/* EMBED(name, "file"): the file's bytes between name and name_end. LARDER_PAGE is the folder. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a name that is declared, and one in the assembler's language. */
#define EMBED(name, file)                                                                                              \
	__asm__(".section .rodata\n" #name ":\n.incbin \"" LARDER_PAGE "/" file "\"\n" #name "_end:\n.byte 0\n"        \
		".previous\n");                                                                                        \
	extern const char name[] __attribute__((visibility("hidden")));                                                \
	extern const char name##_end[] __attribute__((visibility("hidden")))
/* NOLINTEND(bugprone-macro-parentheses) */

EMBED(page_html, "index.html");
EMBED(page_css, "page.css");
EMBED(page_js, "page.js");

/* Nothing from elsewhere, nothing inline, nowhere inside another page. */
static const struct http_header page_headers[] = {
	{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
				    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	{"Referrer-Policy", "no-referrer"},
};

static void reply(struct admin_visit *visit, const char *content_type, const char *from, const char *end)
{
	admin_reply(visit, 200, content_type, from, (size_t)(end - from), page_headers,
		    sizeof(page_headers) / sizeof(page_headers[0]));
}

void admin_page(struct admin_visit *visit)
{
	reply(visit, "text/html; charset=utf-8", page_html, page_html_end);
}

void admin_page_style(struct admin_visit *visit)
{
	reply(visit, "text/css; charset=utf-8", page_css, page_css_end);
}

void admin_page_script(struct admin_visit *visit)
{
	reply(visit, "text/javascript; charset=utf-8", page_js, page_js_end);
}
