// SPDX-License-Identifier: Apache-2.0
/* Escaping and the frame of a page; see html.h. */
#include "tools/html.h"

#include <string.h>

/*
 * Colours of the eight series are told apart by people with every kind of colour vision (after
 * Okabe and Ito) and also differ in their hatching; nothing on the page is told by colour alone.
 */
static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--card:#f5f6f8;--ink:#1c2024;--soft:#59636e;"
	"--grid:#dfe3e8;--axis:#8a939c;--line:#1c2024;--accent:#1f6fb5;--fill:#1f6fb5;"
	"--hatch:rgba(255,255,255,.5);--s0:#3b75b3;--s1:#dd8a2e;--s2:#2f9a78;--s3:#b8559a;"
	"--s4:#c9a91f;--s5:#63a9d8;--s6:#7d6bb8;--s7:#8b949e;"
	"--st1:#e6b800;--st2:#e0701a;--st3:#c92a2a;--bad:#b3261e}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1d2125;--ink:#e6e9ec;"
	"--soft:#9ba5af;--grid:#2b3137;--axis:#6c7680;--line:#f2f4f6;--accent:#6cb2ee;"
	"--fill:#4a93d4;--hatch:rgba(0,0,0,.42);--s0:#5b95d6;--s1:#e9a04a;--s2:#45b792;"
	"--s3:#d277b5;--s4:#dfc145;--s5:#8cc8ee;--s6:#a08fdb;--s7:#9aa3ac;"
	"--st1:#e6b800;--st2:#f08030;--st3:#f05050;--bad:#ff8a80}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;background:var(--bg);color:var(--ink);"
	"font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
	"main{max-width:1120px;margin:0 auto;padding:28px 24px 56px}\n"
	"h1{font-size:26px;line-height:1.25;margin:0 0 2px}\n"
	"h2{font-size:19px;margin:40px 0 2px}\n"
	"p{margin:4px 0 12px;max-width:78ch}\n"
	".sub{color:var(--soft)}\n"
	".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;"
	"margin:22px 0 0}\n"
	".card{background:var(--card);border-radius:8px;padding:12px 16px}\n"
	".card b{display:block;font-size:24px;line-height:1.3;font-weight:650}\n"
	".card span{color:var(--soft);font-size:13.5px;line-height:1.4;display:block}\n"
	".note{border-left:4px solid var(--st2);background:var(--card);padding:8px 14px;"
	"border-radius:0 6px 6px 0;margin:14px 0}\n"
	".plot{overflow-x:auto;margin:8px 0 0}\n"
	"svg.p{display:block;width:100%;min-width:720px;height:auto}\n"
	"svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
	"fill:var(--soft)}\n"
	"svg text.k{fill:var(--ink)}\n"
	"svg text.e{text-anchor:end}svg text.m{text-anchor:middle}\n"
	".grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--axis);stroke-width:1}\n"
	".edge{stroke:var(--bg);stroke-width:.8}.lead{stroke:var(--axis);stroke-width:1;fill:none}"
	"\n"
	".total{stroke:var(--line);stroke-width:1;fill:none;stroke-linejoin:round}\n"
	".line{stroke:var(--accent);stroke-width:1.6;fill:none;stroke-linejoin:round}\n"
	".under{fill:var(--fill);fill-opacity:.16}\n"
	".mean{stroke:var(--soft);stroke-width:1;stroke-dasharray:5 4}\n"
	".hit{fill:var(--ink);fill-opacity:0}.hit:hover{fill-opacity:.07}\n"
	".gap{fill:url(#gap)}.gapline{stroke:var(--axis);stroke-width:1.2}\n"
	".hatch{stroke:var(--hatch);stroke-width:1.6;fill:none}.dot{fill:var(--hatch)}\n"
	".c0{fill:var(--s0)}.c1{fill:var(--s1)}.c2{fill:var(--s2)}.c3{fill:var(--s3)}\n"
	".c4{fill:var(--s4)}.c5{fill:var(--s5)}.c6{fill:var(--s6)}.c7{fill:var(--s7)}\n"
	".b1{fill:var(--st1);fill-opacity:.22}.b2{fill:var(--st2);fill-opacity:.3}"
	".b3{fill:var(--st3);fill-opacity:.38}\n"
	".t1{stroke:var(--st1)}.t2{stroke:var(--st2)}.t3{stroke:var(--st3)}"
	".t1,.t2,.t3{stroke-width:6}\n"
	".heat{fill:var(--accent)}.cellbox{fill:none;stroke:var(--grid)}"
	".alarm{fill:none;stroke:var(--bad);stroke-width:2.5}\n"
	"svg text.inv{fill:var(--bg);font-weight:600}\n"
	"table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}\n"
	".wide{overflow-x:auto}\n"
	"th,td{padding:3px 14px 3px 0;text-align:left;white-space:nowrap;"
	"border-bottom:1px solid var(--grid)}\n"
	"th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}\n"
	"td svg{display:block}\n"
	"details{margin:8px 0 0}summary{cursor:pointer;color:var(--accent)}\n"
	"footer{margin-top:44px;color:var(--soft);font-size:13.5px}\n"
	"@media print{details{display:block}}\n";

static void write_escaped(FILE *out, const char *text, size_t len)
{
	for (const char *p = text; p < text + len; p++) {
		switch (*p) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				fputs("\xef\xbf\xbd", out);
			else
				putc(*p, out);
		}
	}
}

void html_text(FILE *out, const char *text)
{
	write_escaped(out, text, strlen(text));
}

void html_short_text(FILE *out, const char *text, size_t chars_max)
{
	size_t len = 0;

	/* In UTF-8 a character goes on with bytes of the form 10xxxxxx. */
	for (size_t chars = 0; text[len] && chars < chars_max; chars++)
		for (len++; ((unsigned char)text[len] & 0xc0) == 0x80;)
			len++;
	write_escaped(out, text, len);
	if (text[len])
		fputs("\xe2\x80\xa6", out);
}

void html_begin(FILE *out, const char *title)
{
	fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" "
	      "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
	      "<meta name=\"generator\" content=\"memctl " MEMD_VERSION "\">\n<title>",
	      out);
	html_text(out, title);
	fputs("</title>\n<style>\n", out);
	fputs(style, out);
	fputs("</style>\n</head>\n<body>\n<main>\n", out);
}

void html_end(FILE *out)
{
	fputs("</main>\n</body>\n</html>\n", out);
}

void html_cell(FILE *out, const char *text)
{
	fputs("<td>", out);
	html_text(out, text);
	fputs("</td>", out);
}

void html_cell_number(FILE *out, const char *text)
{
	fputs("<td class=\"n\">", out);
	html_text(out, text);
	fputs("</td>", out);
}

void html_begin_numbers(FILE *out, const char *summary)
{
	fprintf(out, "<details><summary>%s</summary><div class=\"wide\"><table>\n", summary);
}

void html_end_numbers(FILE *out)
{
	fputs("</table></div></details>\n", out);
}
