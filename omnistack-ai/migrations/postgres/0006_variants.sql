-- The route and the variant of an experiment, such as `support@new`.
alter table omni_ai_calls add column variant text;
