/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/admin_client.h"

#include "base/cleanup.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define DEFAULT_PORT "5001"

struct exchange {
	const struct admin_request *request;
	struct admin_answer *answer;
	CURL *curl;
	bool gave_up;  /* the request's own give() or take() did, or its stop was set */
	bool too_long; /* the answer */
};

static int invalid_url(struct err *err, const char *url, const char *why)
{
	return err_set(err, ERR_INVALID, "'%s' %s; write http://HOST:PORT or unix:/PATH", url, why);
}

static size_t on_answer(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	const struct admin_request *request = exchange->request;
	size_t len = size * count;
	long status = 0;

	curl_easy_getinfo(exchange->curl, CURLINFO_RESPONSE_CODE, &status);
	if (request->take && status >= 200 && status <= 299) {
		exchange->gave_up = request->take(request->arg, data, len) != 0;
		return exchange->gave_up ? 0 : len;
	}
	exchange->too_long = buf_append(&exchange->answer->body, data, len) != 0;
	return exchange->too_long ? 0 : len;
}

static size_t on_give(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	ssize_t got = exchange->request->give(exchange->request->arg, data, size * count);

	exchange->gave_up = got < 0;
	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int on_progress(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
	struct exchange *exchange = arg;

	(void)down_all, (void)down, (void)up_all, (void)up;
	if (exchange->request->stop && *exchange->request->stop)
		exchange->gave_up = true;
	return exchange->gave_up;
}

/* Where to ask. */

static int set_unix(CURL *curl, const char *url, const char *target, struct err *err)
{
	const char *path = strncmp(url + 5, "//", 2) == 0 ? url + 7 : url + 5;
	_cleanup_free_ char *whole = mem_printf("http://localhost%s", target);

	if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return invalid_url(err, url, "is no socket's path");
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path);
	curl_easy_setopt(curl, CURLOPT_URL, whole);
	return 0;
}

/* "http://HOST:PORT" in full, without a slash at the end, for curl_free(); NULL when it is none. */
static char *normalize(const char *url)
{
	_cleanup_free_ char *guessed = strstr(url, "://") ? mem_strdup(url) : mem_printf("http://%s", url);
	CURLU *parts = curl_url();
	char *port = NULL, *extra = NULL, *whole = NULL;
	bool good = parts && !curl_url_set(parts, CURLUPART_URL, guessed, 0);

	good = good && (curl_url_get(parts, CURLUPART_PORT, &port, 0) == 0 ||
			curl_url_set(parts, CURLUPART_PORT, DEFAULT_PORT, 0) == 0);
	for (CURLUPart part = CURLUPART_USER; good && part <= CURLUPART_PASSWORD; part++)
		good = curl_url_get(parts, part, &extra, 0) != 0;
	good = good && curl_url_get(parts, CURLUPART_QUERY, &extra, 0) != 0 &&
	       curl_url_get(parts, CURLUPART_FRAGMENT, &extra, 0) != 0;
	if (good && curl_url_get(parts, CURLUPART_URL, &whole, 0) == 0 && whole[strlen(whole) - 1] == '/')
		whole[strlen(whole) - 1] = '\0';
	curl_free(port);
	curl_free(extra);
	curl_url_cleanup(parts);
	return whole;
}

static int set_address(CURL *curl, const struct admin_request *request, struct err *err)
{
	_cleanup_free_ char *whole = NULL;
	char *base;

	if (strncmp(request->url, "unix:", 5) == 0)
		return set_unix(curl, request->url, request->target, err);
	base = normalize(request->url);
	if (!base)
		return invalid_url(err, request->url, "is no address of an admin API");
	whole = mem_printf("%s%s", base, request->target);
	curl_free(base);
	curl_easy_setopt(curl, CURLOPT_URL, whole);
	return 0;
}

/* The exchange. */

static void set_body(struct exchange *exchange)
{
	const struct admin_request *request = exchange->request;
	CURL *curl = exchange->curl;

	if (request->text) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->text);
	} else if (request->give) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_give);
		curl_easy_setopt(curl, CURLOPT_READDATA, exchange);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->give_length);
	} else if (strcmp(request->method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

static struct curl_slist *set_headers(struct exchange *exchange)
{
	const struct admin_request *request = exchange->request;
	struct curl_slist *headers = NULL;

	if (request->token) {
		_cleanup_free_ char *line = mem_printf("Authorization: Bearer %s", request->token);

		headers = curl_slist_append(headers, line);
		explicit_bzero(line, strlen(line));
	}
	if (request->content_type) {
		_cleanup_free_ char *line = mem_printf("Content-Type: %s", request->content_type);

		headers = curl_slist_append(headers, line);
	}
	curl_easy_setopt(exchange->curl, CURLOPT_HTTPHEADER, headers);
	return headers;
}

static void set_options(struct exchange *exchange)
{
	CURL *curl = exchange->curl;

	curl_easy_setopt(curl, CURLOPT_USERAGENT, "larder/" LARDER_VERSION);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)ADMIN_CLIENT_CONNECT_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, exchange);
	/* Streams may pause for as long as they like. */
	if (!exchange->request->take && !exchange->request->give) {
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)ADMIN_CLIENT_WAIT_S);
	}
}

static int judge(const struct exchange *exchange, CURLcode code, struct err *err)
{
	const char *url = exchange->request->url;
	long errno_value = 0, status = 0;

	curl_easy_getinfo(exchange->curl, CURLINFO_OS_ERRNO, &errno_value);
	curl_easy_getinfo(exchange->curl, CURLINFO_RESPONSE_CODE, &status);
	if (exchange->gave_up)
		return err_set(err, ERR_CANCELLED, "given up");
	if (exchange->too_long)
		return err_set(err, ERR_LIMIT, "the answer of %s is too long", url);
	if (code != CURLE_OK && status != 0)
		return err_set(err, ERR_IO, "the answer of %s was cut: %s", url, curl_easy_strerror(code));
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(err, ERR_UPSTREAM, "what answers at %s is no larder's admin API", url);
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(err, ERR_UPSTREAM, "no larder answers at %s: no answer in time", url);
	case CURLE_COULDNT_CONNECT:
		return err_set(err, ERR_UPSTREAM, "no larder answers at %s: %s", url,
			       errno_value ? strerrordesc_np((int)errno_value) : curl_easy_strerror(code));
	default:
		return err_set(err, ERR_UPSTREAM, "no larder answers at %s: %s", url, curl_easy_strerror(code));
	}
}

int admin_client_ask(const struct admin_request *request, struct admin_answer *answer, struct err *err)
{
	struct exchange exchange = {.request = request, .answer = answer, .curl = curl_easy_init()};
	struct curl_slist *headers;
	long status = 0;
	int code;

	*answer = (struct admin_answer){.body.max = ADMIN_CLIENT_BODY_MAX};
	if (!exchange.curl)
		return err_set(err, ERR_IO, "no connection can be made");
	code = set_address(exchange.curl, request, err);
	if (code == 0) {
		set_options(&exchange);
		set_body(&exchange);
		headers = set_headers(&exchange);
		code = judge(&exchange, curl_easy_perform(exchange.curl), err);
		curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
		answer->status = (int)status;
		curl_slist_free_all(headers);
	}
	curl_easy_cleanup(exchange.curl);
	return code;
}

/* Descriptors. */

ssize_t admin_give_from_fd(void *arg, void *data, size_t max)
{
	ssize_t got;

	do
		got = read(*(int *)arg, data, max);
	while (got < 0 && errno == EINTR);
	return got;
}

int admin_take_to_fd(void *arg, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(*(int *)arg, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}
