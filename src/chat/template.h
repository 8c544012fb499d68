/* chat/template.h - internal: the fixed texts of the prompt format and the words of tool blocks.
 * The texts are data of the model release (docs/spec/protocol.md, sections 2.4 to 2.6; checksums in its appendix A). */
#ifndef CHAT_TEMPLATE_H
#define CHAT_TEMPLATE_H

#include "chat/chat.h"
#include "chat/tag.h"

/* Appends text that the program itself wrote. In it, bytes 1..5 stand for: DSML, <think> and </think> as control tokens,
 * the profile's name of the block ("tool_calls"), and what precedes other tag names ("" or a space). */
#define T_DSML      "\1"
#define T_THINK     "\2"
#define T_THINK_END "\3"
#define T_BLOCK     "\4"
#define T_TAG       "\5"
ds4_status template_text(text_spans *out, chat_profile profile, const char *text);

extern const char template_effort_high[], template_effort_max[];
extern const char template_tools_head[], template_tools_tail[], template_format_head[];

/* "\n\n<DSML tool_calls>..." for an assistant turn with calls: 2.5. */
ds4_status dsml_render_calls(text_spans *out, chat_profile profile, const chat_call *calls, size_t n);

/* The reversible exception of 2.5 for values that contain the closing tag as text: "</...parameter>" is written with
 * "&lt;", and what is already so written gets one more "amp;". */
#define DSML_CLOSE_TEXT "/\uff5cDSML\uff5cparameter>"
/* Does `text` begin with '&', any number of "amp;" (*n_amps), "lt;" and DSML_CLOSE_TEXT? *size is that of all. */
tag_scan dsml_escaped_close(slice text, size_t *n_amps, size_t *size);

#endif
