/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* strftime and strptime follow the locale; HTTP dates do not. */
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					"Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_day_names[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
					      "Thursday", "Friday", "Saturday"};

#define WALL_MIN INT64_C(-62167219200) /* year 0 */
#define WALL_MAX INT64_C(253402300799) /* the end of year 9999 */

uint64_t clock_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

int64_t clock_wall_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

int64_t clock_wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct timespec clock_after_ms(uint64_t ms)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += (time_t)(ms / 1000);
	time.tv_nsec += (long)(ms % 1000) * 1000000L;
	if (time.tv_nsec >= 1000000000L) {
		time.tv_sec++;
		time.tv_nsec -= 1000000000L;
	}
	return time;
}

/* Breaks down a time into fields of known width, whatever the number was. */
static void break_down(int64_t wall_s, struct tm *tm)
{
	time_t time = wall_s < WALL_MIN ? WALL_MIN : wall_s > WALL_MAX ? WALL_MAX : wall_s;
	gmtime_r(&time, tm);
}

/* Writes `width` decimal digits and returns what follows them. */
static char *put_digits(char *at, int value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		at[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return at + width;
}

static char *put_time_of_day(char *at, const struct tm *tm)
{
	at = put_digits(at, tm->tm_hour, 2);
	*at++ = ':';
	at = put_digits(at, tm->tm_min, 2);
	*at++ = ':';
	return put_digits(at, tm->tm_sec, 2);
}

const char *clock_format_http(int64_t wall_s, char text[CLOCK_HTTP_DATE_MAX])
{
	struct tm tm;
	break_down(wall_s, &tm);
	char *at = stpcpy(text, day_names[tm.tm_wday]);
	at = stpcpy(at, ", ");
	at = put_digits(at, tm.tm_mday, 2);
	*at++ = ' ';
	at = stpcpy(at, month_names[tm.tm_mon]);
	*at++ = ' ';
	at = put_digits(at, tm.tm_year + 1900, 4);
	*at++ = ' ';
	at = put_time_of_day(at, &tm);
	strcpy(at, " GMT");
	return text;
}

const char *clock_format_log(char text[CLOCK_LOG_MAX])
{
	/* A thread that logs each request formats the second once. */
	static _Thread_local char second_text[CLOCK_LOG_MAX];
	static _Thread_local size_t second_len;
	static _Thread_local int64_t second;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (!second_len || now.tv_sec != second) {
		struct tm tm;
		break_down(now.tv_sec, &tm);
		char *at = put_digits(second_text, tm.tm_year + 1900, 4);
		*at++ = '-';
		at = put_digits(at, tm.tm_mon + 1, 2);
		*at++ = '-';
		at = put_digits(at, tm.tm_mday, 2);
		*at++ = 'T';
		at = put_time_of_day(at, &tm);
		*at++ = '.';
		second_len = (size_t)(at - second_text);
		second = now.tv_sec;
	}
	memcpy(text, second_text, second_len);
	strcpy(put_digits(text + second_len, (int)(now.tv_nsec / 1000000), 3), "Z");
	return text;
}

/* RFC 9110, section 5.6.7: two digits that seem more than 50 years ahead mean the most recent past year that ends so.
 */
static int full_year(int two_digits)
{
	struct tm now;
	break_down(clock_wall_s(), &now);
	int this_year = now.tm_year + 1900;
	int year = this_year - this_year % 100 + two_digits;
	return year > this_year + 50 ? year - 100 : year;
}

static bool is_day_name(const char *name)
{
	for (int i = 0; i < 7; i++) {
		if (!strcmp(name, day_names[i]) || !strcmp(name, long_day_names[i]))
			return true;
	}
	return false;
}

static int month_number(const char *name)
{
	for (int i = 0; i < 12; i++) {
		if (!strcmp(name, month_names[i]))
			return i;
	}
	return -1;
}

/* Matches the three forms of a date. Ranges are the caller's to judge. */
static bool scan_date(const char *text, char day[10], char month[4], struct tm *tm)
{
	int end = 0;
	if (sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", day, &tm->tm_mday, month, &tm->tm_year,
		   &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 7 &&
	    end)
		return !text[end];
	if (sscanf(text, "%9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", day, &tm->tm_mday, month, &tm->tm_year,
		   &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 7 &&
	    end) {
		if (tm->tm_year >= 0)
			tm->tm_year = full_year(tm->tm_year);
		return !text[end];
	}
	if (sscanf(text, "%3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", day, month, &tm->tm_mday, &tm->tm_hour,
		   &tm->tm_min, &tm->tm_sec, &tm->tm_year, &end) == 7 &&
	    end)
		return !text[end];
	return false;
}

int clock_parse_http(const char *text, int64_t *wall_s)
{
	char day[10] = "";
	char month[4] = "";
	struct tm tm = {0};
	if (!scan_date(text, day, month, &tm) || !is_day_name(day))
		return ERR_INVALID;
	tm.tm_mon = month_number(month);
	if (tm.tm_mon < 0 || tm.tm_year < 0 || tm.tm_mday < 1 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
	    tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return ERR_INVALID;
	tm.tm_year -= 1900;
	struct tm normal = tm;
	normal.tm_sec = 0;
	int64_t minute = timegm(&normal);
	if (normal.tm_mday != tm.tm_mday)
		return ERR_INVALID; /* 31 June */
	*wall_s = minute + tm.tm_sec;
	return 0;
}
