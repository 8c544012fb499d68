/* A program of a stranger: it knows the installed headers and what pkg-config says, and has one question for the model. */
#include <ds4/ds4.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    ds4 *d = NULL;
    ds4_error err;
    ds4_result result = { 0 };
    ds4_options options = ds4_options_default();
    ds4_generation generation = ds4_generation_default();
    const ds4_message message = { .role = DS4_USER, .text = "What is 12 + 30?" };
    options.model_path = argc > 1 ? argv[1] : "";
    options.n_ctx = 1024;
    generation.temperature = 0;
    generation.think = false;
    ds4_status status = ds4_open(&d, &options, &err);
    if (status == DS4_OK)
        status = ds4_chat(d, &message, 1, &generation, &result, &err);
    if (status == DS4_OK)
        printf("ds4 %s: %s\n", ds4_version(), result.content);
    else
        fprintf(stderr, "%s: %s\n", ds4_status_word(status), err.text);
    ds4_result_free(&result);
    ds4_close(d);
    return status == DS4_OK ? 0 : 1;
}
