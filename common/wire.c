// SPDX-License-Identifier: Apache-2.0
/*
 * One QMP connection: bytes in, JSON objects out, and back. A small scanner finds where an object
 * ends, so that objects need no separator, a hostile peer cannot make us buffer more than
 * WIRE_MESSAGE_MAX, and json-c sees only whole objects of bounded depth and number of containers
 * (an empty one costs json-c up to 1 KiB of memory for two bytes of text).
 * Source: QEMU docs/interop/qmp-spec; QEMU's JSON dialect takes single-quoted strings too.
 */
#include "common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BYTES     (64U << 10)
#define ROOM_LEAST     512  /* kept for what is read by each of a thousand idle connections */
#define SPARE_BYTES    4096 /* ROOM_LEAST times a power of two: more than most messages have */
#define DEPTH_MAX      64   /* bits of struct scan.arrays */
#define CONTAINERS_MAX 16384

/* Where the scanner stands within the object that begins at wire_conn.in_start. */
struct scan {
	unsigned int depth;	 /* 0: between objects */
	unsigned int containers; /* objects and arrays opened in this message */
	uint64_t arrays;	 /* bit per depth: that level is an array */
	char quote;		 /* the quote of the string we are in, or 0 */
	bool escaped;		 /* the byte before was a backslash */
	bool single_quotes;	 /* seen: QEMU's dialect */
	char before;		 /* last byte that is not white space, outside strings */
};

struct wire_conn {
	int fd;
	bool skipping; /* garbage: drop input up to the next newline */
	char why[96];
	struct scan scan;
	/* in[in_start, in_len) is unread input, scanned up to in_scanned. */
	char *in;
	size_t in_start, in_scanned, in_len, in_room;
	/* out[out_start, out_len) is still to be sent. */
	char *out;
	size_t out_start, out_len, out_room;
};

struct wire_conn *wire_conn_new(int fd)
{
	struct wire_conn *conn = calloc(1, sizeof(*conn));
	int flags;

	if (!conn)
		return NULL;
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	conn->fd = fd;
	return conn;
}

void wire_conn_free(struct wire_conn *conn)
{
	if (!conn)
		return;
	cleanup_fd(&conn->fd);
	free(conn->in);
	free(conn->out);
	free(conn);
}

int wire_conn_fd(const struct wire_conn *conn)
{
	return conn->fd;
}

const char *wire_conn_why(const struct wire_conn *conn)
{
	return conn->why;
}

bool wire_conn_is_idle(const struct wire_conn *conn)
{
	return conn->in_start == conn->in_len && !conn->scan.depth && !conn->skipping;
}

/* Room for want more bytes behind buf[*len]; what lies before *start may go. */
static int make_room(char **buf, size_t *start, size_t *len, size_t *room, size_t want)
{
	char *grown;
	size_t size;

	if (*room - *len >= want)
		return 0;
	if (*start) {
		memmove(*buf, *buf + *start, *len - *start);
		*len -= *start;
		*start = 0;
	}
	for (size = *room ? *room : ROOM_LEAST; size - *len < want; size *= 2)
		;
	grown = size == *room ? *buf : realloc(*buf, size);
	if (!grown)
		return -ENOMEM;
	*buf = grown;
	*room = size;
	return 0;
}

int wire_conn_read(struct wire_conn *conn)
{
	const size_t start = conn->in_start;
	char buf[READ_BYTES];
	ssize_t n;
	int r;

	/* Only a caller that reads without taking messages comes here. */
	if (conn->in_len - conn->in_start > WIRE_MESSAGE_MAX + READ_BYTES)
		return -ENOBUFS;
	do {
		n = recv(conn->fd, buf, sizeof(buf), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	r = make_room(&conn->in, &conn->in_start, &conn->in_len, &conn->in_room, (size_t)n);
	conn->in_scanned -= start - conn->in_start;
	if (r < 0)
		return r;
	if (n > 0)
		memcpy(conn->in + conn->in_len, buf, (size_t)n);
	conn->in_len += (size_t)n;
	return (int)n;
}

/* The message, or the garbage, up to in_scanned is done with. */
static void consume(struct wire_conn *conn)
{
	conn->in_start = conn->in_scanned;
	conn->scan = (struct scan){0};
	if (conn->in_start < conn->in_len)
		return;
	conn->in_start = conn->in_scanned = conn->in_len = 0;
	if (conn->in_room > 2 * READ_BYTES) {
		/* An idle connection does not sit on the memory of one large message. */
		free(conn->in);
		conn->in = NULL;
		conn->in_room = 0;
	}
}

static int refuse(struct wire_conn *conn, int error, const char *why)
{
	snprintf(conn->why, sizeof(conn->why), "%s", why);
	conn->skipping = true;
	consume(conn);
	return error;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int scan_open(struct wire_conn *conn, bool array)
{
	struct scan *scan = &conn->scan;

	if (scan->depth && scan->before != ':' && scan->before != ',' && scan->before != '[')
		return refuse(conn, -EBADMSG, "JSON parse error, expected separator");
	if (scan->depth == DEPTH_MAX)
		return refuse(conn, -EMSGSIZE, "JSON nesting depth limit exceeded");
	if (++scan->containers > CONTAINERS_MAX)
		return refuse(conn, -EMSGSIZE, "JSON token count limit exceeded");
	scan->arrays &= ~(1ULL << scan->depth);
	scan->arrays |= (uint64_t)array << scan->depth;
	scan->depth++;
	return 0;
}

/* 1: that was the end of the object. */
static int scan_close(struct wire_conn *conn, bool array)
{
	struct scan *scan = &conn->scan;

	if (((scan->arrays >> (scan->depth - 1)) & 1) != array)
		return refuse(conn, -EBADMSG, "JSON parse error, mismatched bracket");
	return --scan->depth == 0;
}

/* json-c also takes NaN and Infinity, which no other reader would understand if we repeated them.
 */
static int scan_literal(struct wire_conn *conn, char c)
{
	static const bool fits[256] = {
		[':'] = true, [','] = true, ['-'] = true, ['+'] = true,
		['.'] = true, ['e'] = true, ['E'] = true, ['t'] = true,
		['r'] = true, ['u'] = true, ['f'] = true, ['a'] = true,
		['l'] = true, ['s'] = true, ['n'] = true, ['0' ... '9'] = true,
	};

	if (fits[(unsigned char)c] && (c != 'a' || conn->scan.before == 'f'))
		return 0;
	return refuse(conn, -EBADMSG, "JSON parse error, invalid keyword");
}

static void scan_string(struct scan *scan, char c)
{
	if (scan->escaped)
		scan->escaped = false;
	else if (c == '\\')
		scan->escaped = true;
	else if (c == scan->quote)
		scan->quote = '\0';
}

/* One byte more. 1: the object is complete; 0: go on; <0: refused, the byte is dropped too. */
static int scan_byte(struct wire_conn *conn, char c)
{
	struct scan *scan = &conn->scan;
	int r = 0;

	if ((unsigned char)c == 0xff) {
		refuse(conn, -EBADMSG, "JSON parse error, stray '\\xff'");
		conn->skipping = false;
		return -EBADMSG;
	}
	if ((unsigned char)c < ' ' && (scan->quote || !is_space(c))) {
		refuse(conn, -EBADMSG, "JSON parse error, stray control character");
		conn->skipping = c != '\n';
		return -EBADMSG;
	}
	if (scan->quote) {
		scan_string(scan, c);
		return 0;
	}
	if (is_space(c))
		return 0;
	if (!scan->depth && c != '{')
		return refuse(conn, -EBADMSG,
			      strchr("[\"'-0123456789tfn", c)
				      ? "QMP input must be a JSON object"
				      : "JSON parse error, stray input before '{'");
	switch (c) {
	case '"':
	case '\'':
		scan->quote = c;
		scan->single_quotes |= c == '\'';
		break;
	case '{':
	case '[':
		r = scan_open(conn, c == '[');
		break;
	case '}':
	case ']':
		r = scan_close(conn, c == ']');
		break;
	default:
		r = scan_literal(conn, c);
		break;
	}
	if (r == 0)
		scan->before = c;
	return r;
}

/* Most bytes are of strings, and there is nothing about them: on to the next one that may be. */
static void scan_run(struct wire_conn *conn)
{
	const struct scan *scan = &conn->scan;
	size_t end = conn->in_start + WIRE_MESSAGE_MAX - 1;

	if (!scan->quote || scan->escaped)
		return;
	if (end > conn->in_len)
		end = conn->in_len;
	for (; conn->in_scanned < end; conn->in_scanned++) {
		unsigned char c = (unsigned char)conn->in[conn->in_scanned];

		if (c == '"' || c == '\'' || c == '\\' || c < ' ' || c == 0xff)
			return;
	}
}

/*
 * Unicode 15 table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF. json-c's own
 * check lets those through, and strings come back out of us in answers.
 */
static bool is_utf8(const char *text, size_t n)
{
	const unsigned char *p = (const void *)text;
	const unsigned char *end = p + n;

	while (p < end) {
		unsigned char lowest = 0x80, highest = 0xbf;
		unsigned int more = 0;
		uint64_t eight;

		if (end - p >= (ptrdiff_t)sizeof(eight)) {
			memcpy(&eight, p, sizeof(eight));
			if (!(eight & 0x8080808080808080)) {
				p += sizeof(eight);
				continue;
			}
		}
		if (*p >= 0xc2 && *p <= 0xdf)
			more = 1;
		else if (*p >= 0xe0 && *p <= 0xef)
			more = 2;
		else if (*p >= 0xf0 && *p <= 0xf4)
			more = 3;
		else if (*p >= 0x80)
			return false;
		if (*p == 0xe0)
			lowest = 0xa0;
		else if (*p == 0xed)
			highest = 0x9f;
		else if (*p == 0xf0)
			lowest = 0x90;
		else if (*p == 0xf4)
			highest = 0x8f;
		for (p++; more; more--, p++) {
			if (p == end || *p < lowest || *p > highest)
				return false;
			lowest = 0x80;
			highest = 0xbf;
		}
	}
	return true;
}

/*
 * To make a parser for each message costs as much as to parse a short one. One is kept, whoever
 * needs it: with several threads at it the others make theirs. What has met an error is not used
 * again, nor what a long message has made large.
 */
static _Atomic(struct json_tokener *) spare_tokener;

static struct json_tokener *take_tokener(void)
{
	struct json_tokener *tokener = atomic_exchange(&spare_tokener, NULL);

	return tokener ? tokener : json_tokener_new_ex(DEPTH_MAX + 1);
}

static void leave_tokener(struct json_tokener *tokener, bool fit)
{
	if (fit) {
		json_tokener_reset(tokener);
		tokener = atomic_exchange(&spare_tokener, tokener);
	}
	if (tokener)
		json_tokener_free(tokener);
}

/* The complete object in[in_start, in_scanned). */
static int parse_object(struct wire_conn *conn, json_object **ret_message)
{
	const char *text = conn->in + conn->in_start;
	const size_t len = conn->in_scanned - conn->in_start;
	struct json_tokener *tokener = take_tokener();
	json_object *message = NULL;
	const char *why = NULL;

	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, conn->scan.single_quotes ? 0 : JSON_TOKENER_STRICT);
	if (!is_utf8(text, len)) {
		why = "invalid UTF-8";
	} else {
		message = json_tokener_parse_ex(tokener, text, (int)len);
		if (!json_object_is_type(message, json_type_object))
			why = json_tokener_error_desc(json_tokener_get_error(tokener));
	}
	leave_tokener(tokener, !why && len <= READ_BYTES);
	consume(conn);
	if (why) {
		json_object_put(message);
		snprintf(conn->why, sizeof(conn->why), "JSON parse error, %s", why);
		return -EBADMSG;
	}
	*ret_message = message;
	return 1;
}

int wire_conn_next(struct wire_conn *conn, json_object **ret_message)
{
	if (conn->skipping) {
		size_t n = conn->in_len - conn->in_start;
		char *newline = n ? memchr(conn->in + conn->in_start, '\n', n) : NULL;

		conn->in_scanned = newline ? (size_t)(newline - conn->in) + 1 : conn->in_len;
		conn->skipping = !newline;
		consume(conn);
	}
	for (scan_run(conn); conn->in_scanned < conn->in_len; scan_run(conn)) {
		char c = conn->in[conn->in_scanned++];
		int r = scan_byte(conn, c);

		if (r < 0)
			return r;
		if (r > 0)
			return parse_object(conn, ret_message);
		if (!conn->scan.depth)
			consume(conn); /* white space between objects */
		else if (conn->in_scanned - conn->in_start >= WIRE_MESSAGE_MAX)
			return refuse(conn, -EMSGSIZE, "JSON token size limit exceeded");
	}
	return 0;
}

bool wire_conn_has_backlog(const struct wire_conn *conn)
{
	return conn->out_start < conn->out_len;
}

size_t wire_conn_backlog_bytes(const struct wire_conn *conn)
{
	return conn->out_len - conn->out_start;
}

/*
 * Nearly all connections have nothing to send nearly always: a thousand of them need no buffer
 * each. Nor is one allocated for each message: one is kept, like the parser.
 */
static char *_Atomic spare_out;

/* Makes room for WANT bytes more in out. */
static int take_out(struct wire_conn *conn, size_t want)
{
	if (!conn->out) {
		conn->out = atomic_exchange(&spare_out, NULL);
		conn->out_room = conn->out ? SPARE_BYTES : 0;
		if (want < SPARE_BYTES)
			want = SPARE_BYTES;
	}
	return make_room(&conn->out, &conn->out_start, &conn->out_len, &conn->out_room, want);
}

/* All of it is sent. */
static void leave_out(struct wire_conn *conn)
{
	char *out = conn->out;

	if (conn->out_room == SPARE_BYTES)
		out = atomic_exchange(&spare_out, out);
	free(out);
	conn->out = NULL;
	conn->out_start = conn->out_len = conn->out_room = 0;
}

int wire_conn_flush(struct wire_conn *conn)
{
	while (wire_conn_has_backlog(conn)) {
		ssize_t n = send(conn->fd, conn->out + conn->out_start,
				 conn->out_len - conn->out_start, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 1 : -errno;
		conn->out_start += (size_t)n;
	}
	leave_out(conn);
	return 0;
}

int wire_conn_send(struct wire_conn *conn, json_object *message)
{
	size_t len;
	const char *text = json_object_to_json_string_length(
		message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	int r;

	if (!text)
		return -ENOMEM;
	if (len > WIRE_MESSAGE_MAX)
		return -EMSGSIZE;
	if (len + 2 > WIRE_BACKLOG_MAX - wire_conn_backlog_bytes(conn))
		return -ENOBUFS;
	r = take_out(conn, len + 2);
	if (r < 0)
		return r;
	memcpy(conn->out + conn->out_len, text, len);
	memcpy(conn->out + conn->out_len + len, "\r\n", 2);
	conn->out_len += len + 2;
	r = wire_conn_flush(conn);
	return r < 0 ? r : 0;
}

int wire_conn_queue_command(struct wire_conn *conn, const char *command, const char *args,
			    uint64_t id)
{
	/* The frame below, and 20 digits. */
	size_t len = strlen(command) + (args ? strlen(args) : 2) + 64;
	int r;

	if (len > WIRE_MESSAGE_MAX)
		return -EMSGSIZE;
	if (len > WIRE_BACKLOG_MAX - wire_conn_backlog_bytes(conn))
		return -ENOBUFS;
	r = take_out(conn, len);
	if (r < 0)
		return r;
	conn->out_len +=
		(size_t)snprintf(conn->out + conn->out_len, len,
				 "{\"execute\":\"%s\",\"arguments\":%s,\"id\":%" PRIu64 "}\r\n",
				 command, args ? args : "{}", id);
	return 0;
}
