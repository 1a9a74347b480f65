CREATE TABLE singer (id int PRIMARY KEY, name text, age int, height numeric(4,2), born date, tags text[], alive bool);
INSERT INTO singer VALUES (1, 'Ana', 30, 1.70, '1990-01-01', '{a,b}', true), (2, 'Bob', 41, 1.82, NULL, '{}', false),
  (3, 'Cem', 30, 1.75, '1991-05-05', NULL, NULL), (4, 'Dee', NULL, NULL, NULL, NULL, true);
CREATE SEQUENCE counter;
