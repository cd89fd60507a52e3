/* The parts of a message in the shape of OpenAI's endpoints. A user's message may hold shorter ones:
 *
 *   {type: image, url, detail?} or {type: image, data, media_type?, detail?}     → image_url, data as a data: URL
 *   {type: file, data, media_type?, name?}                                       → file with file_data and filename
 *   {type: file, data, name, for: code}     → a text that names it: it is in the directory of the agents' code only
 *
 * data is base64. All other parts are sent as they are. */
#ifndef AB_WORKER_MODEL_OPENAI_CONTENT_H
#define AB_WORKER_MODEL_OPENAI_CONTENT_H

#include <jansson.h>

/* A new reference: the messages themselves if there is nothing to change in them. */
json_t *openai_messages(json_t *messages);

#endif
