#include "cli/text_file.h"

#include "cli/startup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 64 << 20 };

char *text_file_read(const char *program, const char *path)
{
    const char *wrong = NULL;
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(BYTES_MAX + 1) : NULL;
    const size_t n = text ? fread(text, 1, BYTES_MAX + 1, file) : 0;
    if (!text || ferror(file))
        wrong = strerror(errno);
    else if (n == 0)
        wrong = "is empty";
    else if (n > BYTES_MAX)
        wrong = "is longer than 64 MiB";
    else if (memchr(text, 0, n))
        wrong = "is not text: it holds a byte 0";
    else
        text[n] = 0;
    if (file)
        fclose(file);
    if (!wrong)
        return text;
    startup_complain(program, path, wrong);
    free(text);
    return NULL;
}
