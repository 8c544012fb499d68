#include "chat/template.h"

#include <string.h>

const char template_effort_high[] =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, "
    "and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";

const char template_effort_max[] =
    "Reasoning Effort: Beyond maximum \u2014 exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the "
    "problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying "
    "cause "
    "rather than any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple angles and are certain "
    "that no "
    "assumption remains unchecked and no error remains undiscovered.\n\n";

const char template_tools_head[] =
    "## Tools\n\n"
    "You have access to a set of tools to help answer the user's question. You can invoke tools by writing a \"<" T_DSML
        T_BLOCK ">\" block like the following:\n\n"
    "<" T_DSML T_BLOCK ">\n"
    "<" T_DSML T_TAG "invoke name=\"$TOOL_NAME\">\n"
    "<" T_DSML T_TAG "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" T_DSML T_TAG
    "parameter>\n"
    "...\n"
    "</" T_DSML T_TAG "invoke>\n"
    "<" T_DSML T_TAG "invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</" T_DSML T_TAG "invoke>\n"
    "</" T_DSML T_BLOCK ">\n\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other types (numbers, booleans, "
    "arrays, "
    "objects), pass the value in JSON format and set `string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by " T_THINK "), you MUST output your complete reasoning inside " T_THINK
    "..." T_THINK_END " BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after " T_THINK_END " with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";

const char template_tools_tail[] =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";

const char template_format_head[] =
    "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

ds4_status template_text(text_spans *out, chat_profile profile, const char *text)
{
    static const text_special controls[] = { TEXT_DSML, TEXT_THINK, TEXT_THINK_END };
    ds4_status status = DS4_OK;
    while (status == DS4_OK && *text) {
        const size_t n = strcspn(text, "\1\2\3\4\5");
        status = text_spans_text(out, (slice){ text, n });
        text += n;
        if (status != DS4_OK || !*text)
            break;
        const char mark = *text++;
        if (mark <= 3)
            status = text_spans_control(out, controls[mark - 1]);
        else if (mark == 4)
            status = text_spans_text(out, profile == CHAT_V4_1 ? SLICE(" calls") : SLICE("tool_calls"));
        else if (profile == CHAT_V4_1)
            status = text_spans_text(out, SLICE(" "));
    }
    return status;
}
